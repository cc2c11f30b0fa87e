"""The audit log: what was asked of the node, by whom, and what left it. Append-only.

A line is on disk before its answer leaves; answers that wait at the same time share one fsync.
Where a line cannot be written there is no answer: a node that cannot keep its log serves nobody.

    audit.jsonl           the newest lines
    audit.jsonl.000001    older ones, in the order of their numbers; the node deletes none
    audit.jsonl.anchor    how far the log had got, signed with the node's key where it has one
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from shared.files import make_folder, storage_error, sync_folder, write_whole
from worker_node.audit.lines import (
    MAX_LINE_BYTES,
    BadLine,
    Entry,
    Place,
    check_line,
    line_of,
    make_anchor,
    read_anchor,
)

ROTATE_BYTES = 64 * 2**20
"""A file that is larger is put aside, and a new one begun."""

log = logging.getLogger("fedsms.node")


class Audit(Protocol):
    """What the sessions know of an audit log."""

    async def record(self, entry: Entry, durable: bool = True) -> None: ...


class NoAudit:
    """Of an owner who turned the log off."""

    async def record(self, entry: Entry, durable: bool = True) -> None:
        """Nothing is kept."""


class AuditLog:
    """A log that one node writes, from one event loop.

    Args:
        path: the newest file; made with its folder where it is not there.
        key: the node's, to sign the anchor with; None leaves it unsigned.

    Raises:
        StorageError: it cannot be written, another node writes it, or its end is missing.
    """

    def __init__(
        self,
        path: Path,
        key: ec.EllipticCurvePrivateKey | None = None,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self._path = path
        self._anchor = path.with_name(path.name + ".anchor")
        self._key = key
        self._rotate_bytes = rotate_bytes
        self._pending: list[tuple[Entry, bool, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "audit-log")
        make_folder(path.parent)
        self._file = -1
        try:
            self._file = self._open()
            self._place, self._end = self._recover()
        except OSError as error:
            self._let_go()
            raise storage_error("write the audit log", path, error) from error
        except StorageError:
            self._let_go()
            raise

    async def record(self, entry: Entry, durable: bool = True) -> None:
        """Writes a line. Safe to cancel: the line is written all the same.

        Args:
            durable: waits until it is on disk; False only until the system has it.

        Raises:
            StorageError: it could not be written; the log is as it was before.
        """
        written = asyncio.get_running_loop().create_future()
        written.add_done_callback(lambda one: one.cancelled() or one.exception())
        self._pending.append((entry, durable, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_pending())
        await asyncio.shield(written)

    @property
    def path(self) -> Path:
        """The newest file."""
        return self._path

    @property
    def place(self) -> Place:
        """Where the log has got to."""
        return self._place

    async def close(self) -> None:
        """Waits for what is being written, and lets go of the file. Idempotent."""
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        self._thread.shutdown()
        self._let_go()

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    async def _write_pending(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending:
            batch, self._pending = self._pending, []
            entries = [entry for entry, _, _ in batch]
            durable = any(wanted for _, wanted, _ in batch)
            failure: Exception | None = None
            try:
                await loop.run_in_executor(self._thread, self._append, entries, durable)
            except (OSError, ValueError, StorageError) as error:
                log.warning("the audit log %s cannot be written: %s", self._path, error)
                failure = _unwritten(self._path, error)
            for _, _, written in batch:
                if written.done():
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)

    # in the thread from here on, or before there is one

    def _append(self, entries: Sequence[Entry], durable: bool) -> None:
        if self._end >= self._rotate_bytes:
            self._rotate()
        place, lines = self._place, []
        for entry in entries:
            line, place = line_of(entry, place, datetime.now(UTC))
            lines.append(line)
        data = b"".join(lines)
        try:
            os.ftruncate(self._file, self._end)  # what an append before it left half done
            _write_all(self._file, data, self._end)
            if durable:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._place, self._end = place, self._end + len(data)
        if durable:
            self._write_anchor()

    def _write_anchor(self) -> None:
        """Without a sync: after a power cut it may be older than the log, and never newer."""
        anchor = make_anchor(self._place, datetime.now(UTC), self._key)
        file = os.open(self._anchor, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, anchor, 0)
        finally:
            os.close(file)

    def _rotate(self) -> None:
        numbers = [int(one.suffix[1:]) for one in older_files(self._path)]
        aside = self._path.with_name(f"{self._path.name}.{max(numbers, default=0) + 1:06d}")
        os.fdatasync(self._file)
        self._path.rename(aside)
        try:
            before, self._file = self._file, self._open()
        except (OSError, StorageError):
            aside.rename(self._path)
            raise
        os.close(before)
        sync_folder(self._path.parent)
        self._end = 0

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise StorageError(
                f"another node writes the audit log {self._path}",
                next_step="Give this one another with --audit-log.",
            ) from None
        return file

    def _recover(self) -> tuple[Place, int]:
        """Where the log goes on. A line that a crash cut short was never answered: it goes."""
        end = os.fstat(self._file).st_size
        tail = os.pread(self._file, 2 * MAX_LINE_BYTES, max(0, end - 2 * MAX_LINE_BYTES))
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn:
            log.warning("the last line of %s was cut short by a crash; it is removed", self._path)
            end -= torn
            os.ftruncate(self._file, end)
        lines = tail[: len(tail) - torn].splitlines()
        place = self._place_of(lines[-1]) if lines else self._place_of_older()
        self._check_anchor(place)
        return place, end

    def _place_of_older(self) -> Place:
        older = older_files(self._path)
        lines = older[-1].read_bytes().splitlines() if older else []
        return self._place_of(lines[-1]) if lines else Place()

    def _place_of(self, line: bytes) -> Place:
        try:
            return check_line(line, None)[1]
        except BadLine as error:
            raise self._damaged(f"its last line is damaged: {error}") from None

    def _check_anchor(self, place: Place) -> None:
        if not self._anchor.exists():
            if place.n:
                raise self._damaged(f"{self._anchor} is missing, which says how far it had got")
            # Before the first line, and for good: later ones are written into it.
            write_whole(self._anchor, make_anchor(place, datetime.now(UTC), self._key), 0o600)
            return
        try:
            public = self._key.public_key() if self._key is not None else None
            anchored, _ = read_anchor(self._anchor.read_bytes(), public)
        except BadLine as error:
            raise self._damaged(f"{self._anchor}: {error}") from None
        if anchored.n > place.n or (anchored.n == place.n and anchored.hash != place.hash):
            raise self._damaged(f"it had {anchored.n} lines, and now ends with number {place.n}")

    def _damaged(self, why: str) -> StorageError:
        return StorageError(
            f"the audit log {self._path} is not as this node left it",
            why,
            "Keep it as it is, look at it with: python -m worker_node log --verify; and give the "
            "node another with --audit-log.",
        )


def older_files(path: Path) -> list[Path]:
    """The files that were put aside, oldest first."""
    found = path.parent.glob(f"{path.name}.*")
    return sorted(one for one in found if one.suffix[1:].isdecimal())


def _write_all(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data, at = data[written:], at + written


def _unwritten(path: Path, error: Exception) -> StorageError:
    if isinstance(error, StorageError):
        return error
    if isinstance(error, OSError):
        return storage_error("write the audit log", path, error)
    return StorageError(f"cannot write the audit log {path}", str(error))
