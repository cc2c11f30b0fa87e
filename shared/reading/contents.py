"""A file's bytes, within bounds, out of the .gz or .zip that they may be packed in."""

from __future__ import annotations

import gzip
import lzma
import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from shared.errors import DataError
from shared.files import UnfitFile, open_regular
from shared.reading.memory_file import PIECE, MemoryFile

MAX_BYTES = 256 * 2**20
SPLIT = "Split it into several owners' files."
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""The start of an archive, and of one that holds nothing."""
_BROKEN = (zlib.error, EOFError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError)


def unpacked(path: Path, most: int = MAX_BYTES, advice: str = SPLIT) -> MemoryFile:
    """What a regular file holds, unpacked where it is a .gz, or a .zip of one file.

    Args:
        most: bytes that it may hold. advice: what to do where it holds more.

    Raises:
        DataError: it cannot be read or unpacked, is no regular file, or holds more.
    """
    file = _as_it_lies(path, most, advice)
    head = file.read(0, len(_ZIP[0]))
    try:
        if head.startswith(_GZIP):
            with gzip.open(file.opened()) as packed:
                return _bounded(path, packed, most, advice, "unpacked")
        if head in _ZIP and (member := _only_member(path, file)):
            with zipfile.ZipFile(file.opened()) as archive, archive.open(member) as packed:
                return _bounded(path, packed, most, advice, "unpacked")
    # RuntimeError and NotImplementedError: a password, or a method, that zipfile cannot do
    except (*_BROKEN, OSError, RuntimeError) as error:
        raise DataError(
            f"cannot unpack {path}", str(error), "Unpack it, and name the file that was in it."
        ) from error
    return file


def file_bytes(path: Path, most: int = MAX_BYTES, advice: str = SPLIT) -> bytes:
    """What a regular file holds, as it lies there; raises DataError as `unpacked` does."""
    file = _as_it_lies(path, most, advice)
    return file.read(0, len(file))


def _as_it_lies(path: Path, most: int, advice: str) -> MemoryFile:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise _too_large(path, f"{size:,} bytes", most, advice)
            return _bounded(path, file, most, advice)
    except UnfitFile as error:
        raise DataError(error.fact, error.cause, error.next_step) from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """An operating system's error with an owner's file, in an owner's words."""
    return DataError(
        f"cannot read {path}",
        error.strerror or str(error),
        "Name a file that this user may read.",
    )


def _bounded(
    path: Path, source: IO[bytes] | gzip.GzipFile, most: int, advice: str, when: str = "read"
) -> MemoryFile:
    file = MemoryFile()
    while piece := source.read(PIECE):
        file.write(piece)
        if len(file) > most:
            raise _too_large(path, f"more bytes once it was {when}", most, advice)
    return file


def _too_large(path: Path, size: str, most: int, advice: str) -> DataError:
    return DataError(f"{path} is too large", f"{size}, where {most:,} is the limit", advice)


def _only_member(path: Path, file: MemoryFile) -> str | None:
    """The one file of a .zip; None where it is an Excel workbook, which is a .zip by itself."""
    with zipfile.ZipFile(file.opened()) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    if "[Content_Types].xml" in names or "mimetype" in names:
        return None
    real = [name for name in names if not _is_beside(PurePosixPath(name))]
    if len(real) == 1:
        return real[0]
    raise DataError(
        f"{path} holds {len(real):,} files",
        ", ".join(repr(name) for name in real[:3]) + (", ..." if len(real) > 3 else ""),
        "Unpack it, and name the file that holds the messages.",
    )


def _is_beside(name: PurePosixPath) -> bool:
    """Whether a member is none of the data: a read-me, or what a Mac adds."""
    return (
        name.parts[0] == "__MACOSX"
        or name.name.startswith(".")
        or name.stem.lower() in ("readme", "license", "licence")
    )
