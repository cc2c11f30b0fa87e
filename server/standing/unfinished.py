"""Which run was under way, for the coordinator that stays after the one that was killed."""

from __future__ import annotations

from pathlib import Path

from shared.files import is_present, read_bytes, write_whole

FILE = "up.run"


class Unfinished:
    """A file of the identity folder with the path of a run folder; none while no run goes on."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    @property
    def path(self) -> Path | None:
        """The run; None where none was under way. Raises StorageError."""
        if not is_present(self._file):
            return None
        return Path(read_bytes(self._file).decode("utf-8", "replace").strip())

    def note(self, run: Path) -> None:
        """A run has begun. Raises StorageError."""
        write_whole(self._file, f"{run.resolve()}\n".encode())

    def forget(self) -> None:
        """It is over. Idempotent."""
        self._file.unlink(missing_ok=True)
