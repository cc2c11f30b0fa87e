"""What a node must remember of its coordinators over a restart: today's counts, and whom it knows.

One small JSON file, written whole. Counts begin anew each day of the policy's clock.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import StorageError
from shared.files import read_bytes, write_whole

Counted = Literal["rounds", "evaluations", "numbers"]
MOST_KNOWN = 1000
"""Coordinators that are remembered; the owner said yes to each of them."""


class _Remembered(BaseModel):
    """known: name -> fingerprint of its certificate, "" without TLS."""

    model_config = ConfigDict(extra="forbid", strict=True)

    day: str = ""
    rounds: Annotated[int, Field(ge=0)] = 0
    evaluations: Annotated[int, Field(ge=0)] = 0
    numbers: Annotated[int, Field(ge=0)] = 0
    known: dict[str, str] = {}


class Standing:
    """Args: path: where it is kept; None forgets it all when the node ends."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._now = _read(path) if path is not None and path.exists() else _Remembered()

    def count(self, what: Counted, most: int, now: datetime, more: int = 1) -> bool:
        """Counts `more` today, and keeps it; False, and nothing counted, where `most` is reached.

        Raises:
            StorageError: it cannot be kept, and so it does not count as allowed.
        """
        day = now.date().isoformat()
        if self._now.day != day:
            self._now = _Remembered(day=day, known=self._now.known)
        reached: int = getattr(self._now, what)
        if reached + more > most:
            return False
        self._keep(self._now.model_copy(update={what: reached + more}))
        return True

    def knows(self, name: str, certificate: str) -> bool:
        return self._now.known.get(name) == certificate

    def remember(self, name: str, certificate: str) -> None:
        """Raises StorageError where it cannot be kept."""
        known = {**self._now.known, name: certificate}
        self._keep(self._now.model_copy(update={"known": dict(list(known.items())[-MOST_KNOWN:])}))

    def _keep(self, changed: _Remembered) -> None:
        if self._path is not None:
            write_whole(self._path, changed.model_dump_json().encode(), 0o600, durable=False)
        self._now = changed


def _read(path: Path) -> _Remembered:
    try:
        found = _Remembered.model_validate_json(read_bytes(path))
        if re.fullmatch(r"|\d{4}-\d\d-\d\d", found.day):
            return found
    except (ValidationError, json.JSONDecodeError):
        pass
    raise StorageError(
        f"{path} is damaged, which holds how much this node did today",
        next_step="Look at it; without the file the counts begin at 0, and coordinators are new.",
    )
