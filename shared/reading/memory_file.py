"""Bytes that lie in memory outside of the processes that use them, where the system has such files.

Linux counts a file of `memfd_create` once, however many processes read it, and gives it to no disk.
Elsewhere, and while they are few, the bytes are in the process like any others.
"""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Iterator
from typing import Any

from shared.errors import StorageError

PIECE = 2**20
"""Bytes that are read and written at a time."""
_NAME = "fedsms"


class MemoryFile:
    """Bytes that are appended, and read from any place. Not for several threads while it grows.

    Args:
        data: the first of them.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._descriptor: int | None = None
        self._written = 0
        self._rest = bytearray(data)  # what comes after what is written
        self._is_finished = False

    @classmethod
    def of_descriptor(cls, descriptor: int) -> MemoryFile:
        """One that another process has finished; it is closed with this object."""
        file = cls()
        file._own(descriptor)
        file._written, file._is_finished = os.fstat(descriptor).st_size, True
        return file

    def write(self, data: bytes) -> None:
        """Appends. Raises StorageError where there is no memory left for it."""
        if self._is_finished:
            raise ValueError("a finished file takes nothing more")
        self._rest += data
        if len(self._rest) >= PIECE:
            self._write_rest()

    def finished(self) -> int | None:
        """The descriptor of all bytes, which nobody can change any more; None where few are, or the
        system has no such files. May be called again; nothing may be written after it.

        Raises:
            StorageError: as `write`.
        """
        if not self._is_finished and self._descriptor is not None:
            self._write_rest()
            _seal(self._descriptor)
        self._is_finished = True
        return self._descriptor

    def read(self, start: int, end: int) -> bytes:
        """The bytes from start up to end, or to the end of all; none where start is behind it."""
        found = b""
        if self._descriptor is not None and start < min(end, self._written):
            found = os.pread(self._descriptor, min(end, self._written) - start, start)
            start = self._written
        if end > start >= self._written:
            found += self._rest[start - self._written : end - self._written]
        return found

    def pieces(self) -> Iterator[bytes]:
        """All of it, PIECE bytes at a time."""
        for start in range(0, len(self), PIECE):
            yield self.read(start, start + PIECE)

    def opened(self) -> io.BufferedReader:
        """A file object that reads it, with a place of its own."""
        return io.BufferedReader(_Reader(self), PIECE)

    def __len__(self) -> int:
        return self._written + len(self._rest)

    def _own(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def _write_rest(self) -> None:
        if not hasattr(os, "memfd_create"):
            return
        try:
            if self._descriptor is None:
                self._own(os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
            assert self._descriptor is not None
            while self._rest:
                number = os.pwrite(self._descriptor, self._rest, self._written)
                self._written += number
                del self._rest[:number]
        except OSError as error:
            raise StorageError("there is no memory for the messages", str(error)) from error


class _Reader(io.RawIOBase):
    def __init__(self, file: MemoryFile) -> None:
        self._file = file
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: len(self._file)}[whence]
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(self._place, self._place + len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def _seal(descriptor: int) -> None:
    """Neither this process nor one that reads along can change it from now on."""
    import fcntl

    seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
