"""One coordinator a run folder: the lock goes with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shared.errors import StorageError
from shared.files import storage_error


class RunLock:
    """Holds a folder until `release`, or until this process ends.

    Args:
        kind: fcntl.LOCK_EX, or LOCK_SH for a moment's look.

    Raises:
        StorageError: another process holds it, or there is no such folder.
    """

    def __init__(self, folder: Path, kind: int = fcntl.LOCK_EX) -> None:
        self._folder = folder
        try:
            # The folder itself is locked, so that no file of ours is left in it.
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise storage_error("open the run folder", folder, error) from error
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StorageError(
                f"the run in {folder} goes on",
                "another coordinator is at work in this folder",
                "Wait for its end, or stop it.",
            ) from error

    def require_folder(self) -> None:
        """Raises StorageError where the folder was taken away, or another is in its place."""
        try:
            there = self._folder.stat()
        except OSError as error:
            raise storage_error("find the run folder", self._folder, error) from error
        if not os.path.samestat(there, os.fstat(self._descriptor)):
            raise StorageError(f"the run folder {self._folder} was replaced by another")

    def release(self) -> None:
        """Lets the folder go. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_locked(folder: Path) -> bool:
    """True while a process holds the folder. Raises StorageError where there is none."""
    try:
        lock = RunLock(folder, fcntl.LOCK_SH)
    except StorageError:
        if folder.is_dir():
            return True
        raise
    lock.release()
    return False
