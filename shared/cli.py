"""What both command lines share: one way to end with an error, and examples first in `--help`."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from shared.errors import FedsmsError, Interrupted


class ExamplesFirst(click.Command):
    """A command whose `--help` shows examples before anything else.

    Args:
        examples: command lines as a user types them.
    """

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


def write_examples(formatter: click.HelpFormatter, examples: tuple[str, ...]) -> None:
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"  {example}\n")
        formatter.write("\n")


def run(command: click.Command, name: str) -> NoReturn:
    """Runs a command line and ends the process with the exit code that shared/errors.py names.

    Where whoever reads the output has seen enough (`| head`), click ends it with 1 and no word.
    """
    try:
        sys.exit(command.main(prog_name=name, standalone_mode=False) or 0)
    except FedsmsError as error:
        _end(error)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end(Interrupted("stopped"))


def _end(error: FedsmsError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(error.exit_code)
