"""Where a node dials: dial.txt of the identity folder, an address a line, as `join` writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from shared.errors import UsageError
from shared.files import is_present, read_bytes, write_whole
from shared.identity.folder import unfit
from shared.wire.urls import check_url

DIALS = "dial.txt"


def read_dials(folder: Path) -> list[str]:
    """The addresses; none where there is no such file.

    Raises:
        IdentityError: a line is no address. StorageError: the file cannot be read.
    """
    path = folder / DIALS
    if not is_present(path):
        return []
    lines = read_bytes(path).decode("utf-8", "replace").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        try:
            found += [check_url(text, "a coordinator")] if text else []
        except UsageError as error:
            raise unfit(path, f"line {number}: {error.words}") from error
    return found


def write_dials(folder: Path, urls: Iterable[str]) -> None:
    """Adds addresses to those that are there. Raises IdentityError, StorageError."""
    all_of_them = dict.fromkeys([*read_dials(folder), *urls])
    lines = ["# Coordinators that this node dials, an address a line.", *all_of_them, ""]
    write_whole(folder / DIALS, "\n".join(lines).encode())
