"""Files that are written whole or not at all, read within bounds, and one error for each fault."""

from __future__ import annotations

import os
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

from shared.errors import StorageError, UsageError, describe_os_error


def storage_error(doing: str, path: Path, error: OSError) -> StorageError:
    """An operating system's error in a user's words.

    Args:
        doing: what cannot be done with the path; "read" or something that writes.
    """
    hint = "Check the path, its permissions and the space left, or name another folder."
    if doing == "read":
        hint = "Check the path and its permissions."
    return StorageError(f"cannot {doing} {path}", describe_os_error(error), hint)


def make_folder(path: Path, parents: bool = True) -> None:
    """Makes a folder; one that is there is fine.

    Args:
        parents: makes those that are missing too; False takes a missing one for an error.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        path.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise storage_error("make the folder", path, error) from error


def write_whole(path: Path, data: bytes, mode: int = 0o644, durable: bool = True) -> None:
    """Replaces a file so that a reader, or a crash, sees the old content or the new one.

    Args:
        mode: the file's permissions; nobody ever sees it with wider ones.
        durable: waits until it is on disk; False is quick, and outlives this process but perhaps
            not a power cut.

    Raises:
        StorageError: it cannot be written; what was there before is still there.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
            if durable:
                sync_folder(path.parent)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error("write", path, error) from error


def sync_folder(folder: Path) -> None:
    """Makes a rename in a folder last through a loss of power. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_lines(path: Path, lines: list[str]) -> None:
    """Appends whole lines, and waits until they are on disk. Raises StorageError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error("write", path, error) from error


class UnfitFile(StorageError):
    """What is there can be no such file: it is too large, or no regular file."""


def is_present(path: Path) -> bool:
    """Whether anything is there, also a link that leads nowhere: what is broken is not absent.

    Raises:
        StorageError: it cannot be told, as where a folder on the way may not be entered.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_error("read", path, error) from error
    return True


SMALL_FILE = 2**20
"""Bytes of the largest key, certificate, settings file or table of counts that is read."""


def read_bytes(path: Path, at_most: int = SMALL_FILE) -> bytes:
    """A regular file's bytes; a file from elsewhere can neither hang its reader nor fill memory.

    Args:
        at_most: bytes of the largest file that is read.

    Raises:
        UnfitFile: it is larger, or is a pipe, a device or a folder.
        StorageError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            # what is too large by its size alone takes no memory first
            too_large = os.fstat(file.fileno()).st_size > at_most
            data = b"" if too_large else file.read(at_most + 1)
    except OSError as error:
        raise storage_error("read", path, error) from error
    if too_large or len(data) > at_most:
        raise UnfitFile(
            f"cannot read {path}",
            f"it is larger than {at_most:,} bytes, the most that such a file has",
            "Name the right file; if it is the right one, it is damaged.",
        )
    return data


def open_regular(path: Path) -> BinaryIO:
    """Opens a file for reading without waiting for anybody, as a pipe's reader would.

    Raises:
        UnfitFile: it is a pipe, a device, a socket or a folder.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    there = os.fstat(descriptor)
    if stat.S_ISREG(there.st_mode) or _is_null_device(there):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise UnfitFile(
        f"cannot read {path}", "it is not a regular file", "Copy it to a file, and name that."
    )


def _is_null_device(there: os.stat_result) -> bool:
    """Whether it is what people name for an empty file, also mounted at another place."""
    # by the device's number: a mount of it is another inode of another file system
    return stat.S_ISCHR(there.st_mode) and there.st_rdev == Path(os.devnull).stat().st_rdev


def read_toml(path: Path, name: str, next_step: str) -> dict[str, Any]:
    """The file's tables, not yet checked.

    Args:
        name: what the file is, for instance "the policy".
        next_step: of the errors.

    Raises:
        UsageError: no such file, or it is not TOML in UTF-8; a byte order mark may stand before it.
    """
    try:
        return tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except StorageError as error:
        raise UsageError(f"cannot read {name} {path}", error.cause, next_step) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} {path} is not TOML", str(error), next_step) from error
