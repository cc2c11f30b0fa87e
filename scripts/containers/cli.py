"""What the commands of scripts/federation.py share: the way to an engine, and their options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from shared.errors import FedsmsError

if TYPE_CHECKING:  # --help does without the Docker SDK
    from scripts.containers.labels import Federation

PROGRAM = "python scripts/federation.py"


@contextmanager
def opened(name: str, tag: str = "latest") -> Iterator[Federation]:
    """A federation on the engine, by its name; tag: of its images.

    Raises:
        FedsmsError: the Docker SDK is not installed. NodeUnreachable: no engine answers.
    """
    try:
        from scripts.containers.engine import engine
        from scripts.containers.labels import Federation
    except ModuleNotFoundError as error:
        raise FedsmsError(
            "the Docker SDK for Python is not here",
            f"there is no module {error.name}",
            "./scripts/setup installs it into .venv; "
            "elsewhere: pip install --no-deps -r requirements-containers.txt",
        ) from error
    with engine() as client:
        yield Federation(client, name, tag)


def say(line: str) -> None:
    click.echo(line, err=True)


name_option = click.option(
    "--name", default="fedsms", show_default=True, help="Of the federation; several may be up."
)
tag_option = click.option(
    "--tag",
    default="latest",
    show_default=True,
    envvar="FEDSMS_TAG",
    show_envvar=True,
    help="Of the images.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
