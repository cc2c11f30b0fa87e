"""What both command lines share: one way to end with an error, and examples first in `--help`."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from shared.errors import FedsmsError, Interrupted, StorageError, describe_os_error


class _Examples(click.Command):
    """Shows its examples before the rest of its `--help`.

    Args:
        examples: command lines as a user types them.
        groups: names of parameters by the heading that `--help` shows them under; those without
            one are Options, and with no groups all are.
    """

    def __init__(
        self,
        *args: Any,
        examples: tuple[str, ...] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.groups = groups or {}

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  {as_typed(example, _typed_name(ctx))}\n")
            formatter.write("\n")
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if not self.groups:
            super().format_options(ctx, formatter)
            return
        records = {one.name: one.get_help_record(ctx) for one in self.get_params(ctx)}
        for title, names in self.groups.items():
            self._section(formatter, title, [records.pop(name, None) for name in names])
        self._section(formatter, "Options", list(records.values()))

    def _section(
        self, formatter: click.HelpFormatter, title: str, records: list[tuple[str, str] | None]
    ) -> None:
        shown = [record for record in records if record is not None]
        if shown:
            with formatter.section(title):
                formatter.write_dl(shown)


class ExamplesFirst(_Examples):
    """A command with examples."""


class GroupWithExamples(_Examples, click.Group):
    """A group of commands with examples."""


HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of every command line, for click's `context_settings`."""

SHORT = {"python -m server": "fedsms", "python -m worker_node": "fedsms-node"}
"""What scripts/setup installs for each command line."""


def as_typed(text: str, name: str) -> str:
    """A text that names commands, for somebody who typed this name of one."""
    for long, short in SHORT.items() if name in SHORT.values() else ():
        text = text.replace(long, short)
    return text


def say(text: str, err: bool = False) -> None:
    """Writes a line that names commands, as whoever runs this one typed it."""
    click.echo(as_typed(text, _typed_name(click.get_current_context())), err=err)


def _typed_name(ctx: click.Context) -> str:
    return ctx.find_root().info_name or ""


Decorator = Callable[[Callable[..., Any]], click.Command]


def subcommand_of(group: click.Group) -> Callable[..., Decorator]:
    """A decorator for the group's subcommands; its arguments are the examples of their --help."""

    def command(*examples: str) -> Decorator:
        return group.command(cls=ExamplesFirst, examples=examples)

    return command


def command(
    name: str, *examples: str, groups: Mapping[str, Sequence[str]] | None = None
) -> Decorator:
    """A decorator for a command that a group of another file takes up."""
    return click.command(name, cls=ExamplesFirst, examples=examples, groups=groups)


identity_option = click.option(
    "--identity",
    # not looked at here: a command that may do without it is not to fail for a folder of others
    type=click.Path(path_type=Path, readable=False),
    default=Path("identity"),
    show_default=True,
    envvar="FEDSMS_IDENTITY",
    show_envvar=True,
    help="Folder with this side's key and certificate.",
)


def run(command: click.Command, name: str) -> NoReturn:
    """Runs a command line and ends the process with the exit code that shared/errors.py names.

    Where whoever reads the output has seen enough (`| head`), click ends it with 1 and no word.
    """
    _make_streams_sound()
    with _hang_up_interrupts():
        _run(command, name)


def _run(command: click.Command, name: str) -> NoReturn:
    try:
        code = command.main(prog_name=name, standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except FedsmsError as error:
        _end(error, name)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end(Interrupted("stopped"), name)
    except OSError as error:
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        _forget_output()
        _end(
            StorageError(
                "cannot write to standard output",
                describe_os_error(error),
                "What was done is kept; only what is said of it is lost.",
            ),
            name,
        )


_OUTPUT_ERRORS = (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EFBIG, errno.EDQUOT)


def _make_streams_sound() -> None:
    """No stream is missing, and none fails for a character that it has no code for."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # what is opened next would take its place, and get what is meant for the terminal;
            # open for reading alone, it says that it cannot be written
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """What could not be written is not tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def ending_signals() -> list[signal.Signals]:
    """Those that end a command in good order; SIGHUP unless whoever started it had it ignored."""
    ending = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ending.append(signal.SIGHUP)
    return ending


@contextmanager
def _hang_up_interrupts() -> Iterator[None]:
    """A terminal that goes away ends the block as Ctrl-C does."""
    before = signal.getsignal(signal.SIGHUP)
    ours = before is signal.SIG_DFL and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGHUP, before)


def _end(error: FedsmsError, name: str) -> NoReturn:
    click.echo(f"error: {as_typed(str(error), name)}", err=True)
    sys.exit(error.exit_code)
