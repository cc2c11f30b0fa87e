"""Reading an audit log: which lines a filter takes, and whether all are there and unchanged."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError, UsageError
from shared.files import read_bytes, storage_error
from worker_node.audit.lines import MAX_LINE_BYTES, BadLine, Place, check_line, read_anchor
from worker_node.audit.log import older_files

FOLLOW_SECONDS = 0.25
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Filter:
    """Which lines are wanted; None and "" want all."""

    coordinator: str | None = None
    decision: str | None = None
    since: datetime | None = None

    def takes(self, line: dict[str, Any]) -> bool:
        return (
            (self.coordinator is None or line.get("who") == self.coordinator)
            and (self.decision is None or line.get("decision") == self.decision)
            and (self.since is None or str(line.get("time")) >= _stamp(self.since))
        )


def moment(text: str) -> datetime:
    """ "90m", "2h", "7d" ago, or a date or time in ISO form, local unless it has a zone.

    Raises UsageError.
    """
    ago = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time", next_step="Write 2h, 7d, 2026-11-22 or 2026-11-22T20:00."
        ) from None


def files_of(path: Path) -> list[Path]:
    """All files of a log, oldest first. Raises StorageError where there is none."""
    found = [*older_files(path), *([path] if path.exists() else [])]
    if not found:
        raise StorageError(
            f"there is no audit log {path}",
            next_step="Name it with --audit-log, or its folder with --identity.",
        )
    return found


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of all files, without their ends. Raises StorageError."""
    files_of(path)
    file = path
    try:
        with contextlib.ExitStack() as opened:
            # The newest first: a file that is put aside meanwhile is then read, and read once.
            newest = opened.enter_context(path.open("rb")) if path.exists() else None
            for file in older_files(path):
                with file.open("rb") as older:
                    if newest is None or not os.path.sameopenfile(older.fileno(), newest.fileno()):
                        yield from (line.rstrip(b"\n") for line in older)
            file = path
            yield from (line.rstrip(b"\n") for line in newest or ())
    except OSError as error:
        raise storage_error("read", file, error) from error


def entries(path: Path, wanted: Filter) -> Iterator[dict[str, Any]]:
    """The lines that a filter takes; one that is damaged is passed over, and `verify` tells."""
    for line in lines_of(path):
        try:
            values, _ = check_line(line, None)
        except BadLine:
            continue
        if wanted.takes(values):
            yield values


def newest(path: Path, many: int) -> list[dict[str, Any]]:
    """The last lines of the newest file, the oldest first; what is damaged is passed over.

    Raises StorageError.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - many * MAX_LINE_BYTES))
            lines = file.read().splitlines()[-many:]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("read", path, error) from error
    found = []
    for line in lines:
        with contextlib.suppress(BadLine):
            found.append(check_line(line, None)[0])
    return found


def follow(path: Path, wanted: Filter) -> Iterator[dict[str, Any]]:
    """The same, and then each new line, for ever; goes on in the next file."""
    last = 0
    while True:
        for values in entries(path, wanted):
            if values["n"] > last:
                last = values["n"]
                yield values
        before = _state(path)
        while _state(path) == before:
            time.sleep(FOLLOW_SECONDS)


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_size


@dataclass(frozen=True)
class Verdict:
    """What `verify` found.

    first, last: numbers of the first and the last line that are there; 0 of an empty log.
    anchored: how many lines the anchor vouches for; None without one. signed: by this node's key.
    fault: what is wrong; "" where nothing is.
    """

    first: int
    last: int
    hash: str
    anchored: int | None
    signed: bool
    fault: str


def verify(
    path: Path,
    key: ec.EllipticCurvePublicKey | None,
    written: Callable[[], int] | None = None,
) -> Verdict:
    """Reads the whole chain, and the anchor.

    Args:
        key: the node's; None leaves signatures unread.
        written: of a log that is written meanwhile, how many lines are whole; asked once the anchor
            is read. Later ones are left unread.
    """
    place: Place | None = None
    first, fault, hashes = 0, "", {0: Place().hash}
    anchor, signed, anchor_fault = _anchor(path, key)
    most = written() if written is not None else None
    for number, line in enumerate(lines_of(path), start=1):
        if most is not None and (place.n if place else 0) >= most:
            break
        try:
            values, following = check_line(line, place)
        except BadLine as error:
            where = f"after line number {place.n}" if place else f"line {number}"
            fault = f"{where}: {error}"
            break
        if place is None:
            first, hashes[following.n - 1] = following.n, values["previous"]
        place = following
        if anchor is not None and place.n == anchor.n:
            hashes[place.n] = place.hash
    place = place or Place()
    if not fault:
        fault = anchor_fault or _end_fault(place, anchor, hashes)
    return Verdict(first, place.n, place.hash, anchor.n if anchor else None, signed, fault)


def _anchor(path: Path, key: ec.EllipticCurvePublicKey | None) -> tuple[Place | None, bool, str]:
    file = path.with_name(path.name + ".anchor")
    if not file.exists():
        return (
            None,
            False,
            f"{file} is missing, which says where the log ends",
        )
    try:
        return *read_anchor(read_bytes(file), key), ""
    except BadLine as error:
        return None, False, f"{file}: {error}"


def _end_fault(place: Place, anchor: Place | None, hashes: dict[int, str]) -> str:
    if anchor is None:
        return ""
    if anchor.n > place.n:
        return f"the end is missing: there were {anchor.n} lines, and the last here is {place.n}"
    if anchor.n not in hashes:
        return f"line number {anchor.n}, which the anchor vouches for, is missing and the next too"
    if hashes[anchor.n] != anchor.hash:
        return f"line number {anchor.n} is another than the anchor vouches for"
    return ""


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
