"""What a node must remember of its coordinators over a restart: today's counts, and whom it knows.

One small JSON file, written whole, and held by one node at a time. Counts begin anew with each day
of the policy's clock that is later than all before: a clock that is set back, and on again, brings
no count back.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import StorageError
from shared.files import is_present, make_folder, read_bytes, storage_error, write_whole

Counted = Literal["rounds", "evaluations", "comparisons", "models", "numbers"]
MAX_KNOWN = 1000
"""Coordinators that are remembered; the owner said yes to each of them."""


class _Remembered(BaseModel):
    """known: name -> fingerprint of its certificate, "" without TLS."""

    model_config = ConfigDict(extra="forbid", strict=True)

    day: str = ""
    rounds: Annotated[int, Field(ge=0)] = 0
    evaluations: Annotated[int, Field(ge=0)] = 0
    comparisons: Annotated[int, Field(ge=0)] = 0
    models: Annotated[int, Field(ge=0)] = 0
    numbers: Annotated[int, Field(ge=0)] = 0
    known: dict[str, str] = {}


log = logging.getLogger("fedsms.node")


class DayCounts:
    """The counts of one node.

    Args:
        path: where they are kept; None forgets them when the node ends.

    Raises:
        StorageError: the file is damaged, cannot be read, or is another node's that runs.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = _Lock(path) if path is not None else None
        self._now = _read(path) if path is not None and is_present(path) else _Remembered()

    def warn_of_days_to_come(self, now: datetime) -> None:
        """Says where the counts are of a later day: they go on until that day is over."""
        if self._now.day > (now.date() + timedelta(days=1)).isoformat():
            log.warning(
                "the counts in %s are of %s, which has not come: was the clock wrong? They go on "
                "until that day is over",
                self._path,
                self._now.day,
            )

    def count(self, what: Counted, most: int, now: datetime, more: int = 1) -> bool:
        """Counts `more` today, and keeps it; False, and nothing counted, where `most` is reached.

        Raises:
            StorageError: it cannot be kept, and so it does not count as allowed.
        """
        today = self._today(now)
        reached: int = getattr(today, what)
        if reached + more > most:
            return False
        self._keep(today.model_copy(update={what: reached + more}))
        return True

    def has_room(self, what: Counted, most: int, now: datetime) -> bool:
        """Whether one more could be counted today; nothing is."""
        return self.done(what, now) < most

    def done(self, what: Counted, now: datetime) -> int:
        """How many were counted today."""
        reached: int = getattr(self._today(now), what)
        return reached

    def _today(self, now: datetime) -> _Remembered:
        day = now.date().isoformat()
        if day > self._now.day:
            return _Remembered(day=day, known=self._now.known)
        return self._now

    def knows(self, name: str, certificate: str) -> bool:
        return self._now.known.get(name) == certificate

    def remember(self, name: str, certificate: str) -> None:
        """Raises StorageError where it cannot be kept."""
        known = {**self._now.known, name: certificate}
        self._keep(self._now.model_copy(update={"known": dict(list(known.items())[-MAX_KNOWN:])}))

    def close(self) -> None:
        """Lets the file go, for another node. Idempotent."""
        if self._lock is not None:
            self._lock.release()

    def _keep(self, changed: _Remembered) -> None:
        if self._path is not None:
            write_whole(self._path, changed.model_dump_json().encode(), 0o600, durable=False)
        self._now = changed


class _Lock:
    """Held by one process, and gone with it. The counts' own file is replaced with each count."""

    def __init__(self, path: Path) -> None:
        beside = path.with_name(f".{path.name}.lock")
        make_folder(path.parent)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(beside, flags, 0o600)
        except OSError as error:
            raise storage_error("write", beside, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise StorageError(
                f"another node keeps its counts in {path}",
                "with two, each would allow the whole day",
                "Stop the other one, or give this one a file of its own with --counts.",
            ) from error

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read(path: Path) -> _Remembered:
    try:
        found = _Remembered.model_validate_json(read_bytes(path))
        if found.day:
            date.fromisoformat(found.day)
        if re.fullmatch(r"|\d{4}-\d\d-\d\d", found.day):
            return found
    except ValueError:  # also of JSON and of what is no such table
        pass
    raise StorageError(
        f"{path} is damaged, which holds how much this node did today",
        next_step="Look at it; without the file the counts begin at 0, and coordinators are new.",
    )
