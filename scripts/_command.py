"""What the scripts' commands share: one way to end, whatever went wrong."""

from __future__ import annotations

import sys

import click

from shared.errors import FedsmsError, Interrupted


def run(command: click.Command) -> None:
    """Runs a command line and ends the process: 0, or the exit code of the error that ended it."""
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FedsmsError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(Interrupted.exit_code)
