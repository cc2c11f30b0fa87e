"""The owners' folders as the one-shot containers see them, and whose files they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from shared.errors import StorageError, UsageError, describe_os_error

NODE_UID = 10001
"""User and group of the nodes in their containers; the Dockerfile makes them."""


def owner_option(what: str) -> Callable[..., Any]:
    """--owner NAME=FOLDER, once an owner."""
    return click.option("--owner", multiple=True, required=True, metavar="NAME=FOLDER", help=what)


def owners_of(
    values: Sequence[str], flag: str = "--owner", what: str = "FOLDER"
) -> dict[str, Path]:
    """Owner -> path, from NAME=PATH.

    Args:
        flag: as which the values were given. what: the path leads to.

    Raises UsageError where a value is malformed or an owner is named twice.
    """
    paths: dict[str, Path] = {}
    for value in values:
        name, sign, path = value.partition("=")
        if not (name and sign and path):
            raise UsageError(
                f"{flag} {value} names no {what.lower()}", next_step=f"Write NAME={what}."
            )
        if name in paths:
            raise UsageError(f"{flag} {name} is given twice")
        paths[name] = Path(path)
    return paths


def hand_over(folders: Iterable[Path], uid: int, gid: int) -> None:
    """Gives folders, and all that is in them, to a user. Raises StorageError."""
    for folder in folders:
        try:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, gid, follow_symlinks=False)
        except OSError as error:
            raise StorageError(
                f"cannot give {folder} to user {uid}",
                describe_os_error(error),
                "The container needs the capability CHOWN for it.",
            ) from error


def become(uid: int) -> None:
    """From now on this process is that user and group, for good, and has no capability."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
