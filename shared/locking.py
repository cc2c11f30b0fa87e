"""Locks on folders that several commands write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shared.errors import StorageError
from shared.files import storage_error

LOCK_SECONDS = 30.0
"""How long one command waits for another that writes to the same folder."""


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Nobody else writes what this lock is for. Not reentrant.

    Args:
        name: of the lock's file in the folder.

    Raises:
        StorageError: somebody else has held it for LOCK_SECONDS, or the folder cannot be written.
    """
    try:
        with FileLock(folder / name, timeout=LOCK_SECONDS):
            yield
    except Timeout as error:
        raise StorageError(
            f"cannot write to {folder}", "another command has been writing there for a while"
        ) from error
    except OSError as error:
        raise storage_error("write to", folder, error) from error
