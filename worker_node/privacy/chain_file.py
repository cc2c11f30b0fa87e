"""A file of chained lines that one process writes, and nothing is forgotten of.

The lines are those of the audit log (worker_node/audit/lines.py), each with the hash of the one
before, and an anchor beside the file says how many there were. Unlike the log's, a line and its
anchor are on disk when `append` returns, and a file that is damaged, cut, or missing beside its
anchor is not begun anew.
"""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from shared.files import is_present, make_folder, read_bytes, storage_error, write_whole
from worker_node.audit.lines import BadLine, Place, chained, check_line, make_anchor, read_anchor

MOST_BYTES = 256 * 2**20
OF = "privacy ledger"


class ChainFile:
    """The file, open and locked.

    Args:
        path: made, with its anchor, where neither is there.
        key: the node's, which signs the anchor; None leaves it unsigned.

    Attributes:
        lines: all of them, oldest first; not to be changed.

    Raises:
        StorageError: it is damaged, cannot be written, or another process has it.
    """

    def __init__(self, path: Path, key: ec.EllipticCurvePrivateKey | None) -> None:
        self._path, self._key = path, key
        self._anchor = anchor_of(path)
        make_folder(path.parent)
        if is_present(self._anchor) and not is_present(path):
            raise damaged(path, "it is missing, and its anchor is there")
        public = key.public_key() if key is not None else None
        self._file = -1
        try:
            self._file = _open_locked(path)
            self.lines, self._place, self._end = read_chain(path, public)
            if not is_present(self._anchor):
                write_whole(self._anchor, make_anchor(self._place, _now(), key, OF), 0o600)
            os.ftruncate(self._file, self._end)  # a line cut short by a crash was never acted on
        except OSError as error:
            self.close()
            raise storage_error("write", path, error) from error
        except StorageError:
            self.close()
            raise

    def append(self, values: dict[str, Any]) -> None:
        """Adds a line; it and the anchor are on disk when this returns.

        Raises:
            StorageError: it may not be; the next one is written in its place.
        """
        if self._file < 0:
            raise StorageError(f"cannot write {self._path}", "it was closed")
        line, place = chained(values, self._place, _now())
        try:
            if not _is_same(self._path, self._file):
                raise damaged(self._path, "it was replaced or moved while this node kept it")
            os.ftruncate(self._file, self._end)
            _write(self._file, line, self._end)
            _write_anchor(self._anchor, make_anchor(place, _now(), self._key, OF))
        except OSError as error:
            raise storage_error("write", self._path, error) from error
        self._place, self._end = place, self._end + len(line)
        self.lines.append(values)

    def close(self) -> None:
        """Lets the file go. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def anchor_of(path: Path) -> Path:
    return path.with_name(path.name + ".anchor")


def read_chain(
    path: Path, key: ec.EllipticCurvePublicKey | None
) -> tuple[list[dict[str, Any]], Place, int]:
    """All lines, the place after them, and where they end in the file; without a lock.

    Args:
        key: of whom the anchor must be signed; None takes any.

    Raises:
        StorageError: it is damaged, or does not go as far as its anchor says.
    """
    anchor = anchor_of(path)
    # before the file: a line that is added meanwhile makes the file the longer one
    anchored = _read_anchor(path, anchor, key) if is_present(anchor) else None
    data = read_bytes(path, MOST_BYTES)
    end = data.rfind(b"\n") + 1
    place, lines = Place(), []
    was_there = anchored == place
    for line in data[:end].splitlines():
        try:
            values, place = check_line(line, place)
        except BadLine as error:
            raise damaged(path, str(error)) from None
        lines.append(values)
        was_there = was_there or place == anchored
    if anchored is None and lines:
        raise damaged(path, f"{anchor} is missing, which says how far it had got")
    if anchored is not None and not was_there:
        raise damaged(path, f"it had {anchored.n} lines, and now has other {len(lines)}")
    return lines, place, end


def _read_anchor(path: Path, anchor: Path, key: ec.EllipticCurvePublicKey | None) -> Place:
    try:
        return read_anchor(read_bytes(anchor), key, OF)[0]
    except BadLine as error:
        raise damaged(path, f"{anchor}: {error}") from None


def damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        f"the privacy ledger {path} is not as this node left it",
        why,
        "It says what coordinators were told, which nothing takes back. Put back the file and its "
        ".anchor as they were last; without them nothing private is told from here. An owner who "
        "gives up what was counted moves both away.",
    )


def _open_locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise StorageError(
            f"another node keeps the privacy ledger {path}",
            "with two, each would spend the whole budget",
            "Stop the other one.",
        ) from None
    return file


def _is_same(path: Path, file: int) -> bool:
    """Whether what is at the path is this open file: another one is free for another node."""
    there, own = path.lstat(), os.fstat(file)
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def _write_anchor(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        _write(file, data, 0)
    finally:
        os.close(file)


def _write(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written
    os.fdatasync(file)


def _now() -> datetime:
    """For whoever reads the lines; nothing is decided by it."""
    return datetime.now(UTC)
