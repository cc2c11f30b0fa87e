"""What a node remembers of the sums that it masked a vector for, also after it was killed.

A training is deterministic: of one round under two rosters, the difference of the two sums would be
the update of whoever is in one alone. So rounds of a run go up, and each is masked once. The line
is on disk before the masked vector leaves. Whoever masked a round and still has its keys answers
from memory (owner.py) and does not ask here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from shared.errors import StorageError
from shared.files import is_present, read_bytes, write_whole
from shared.secure_aggregation.kinds import Sum
from shared.secure_aggregation.messages import Context
from shared.secure_aggregation.violation import Violation

_MAX_BYTES = 16 * 2**20
"""Room for more than 100,000 runs; a file that has no more room admits no new run."""
_ROWS = TypeAdapter(list[tuple[str, Sum, Annotated[int, Field(ge=1, strict=True)]]])


class MaskedRounds(Protocol):
    """Remembers the last masked round of each run, for trainings and evaluations apart."""

    def claim(self, context: Context) -> None:
        """Notes that a round is being masked.

        Raises:
            Violation: it was, or a later one was.
            StorageError: it cannot be noted; nothing may leave then.
        """


class RoundsInMemory:
    """Forgets with the process: for tests, and nodes without an identity folder."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, Sum], int] = {}

    def claim(self, context: Context) -> None:
        which = (context.run, context.sum)
        last = self.last.get(which, 0)
        if context.round <= last:
            why = f"round {last} of this run was masked here, under a roster that is gone"
            raise Violation("one_roster", why)
        self.last[which] = context.round


class RoundsOnDisk:
    """Remembers in a file, replaced whole at every claim.

    Args:
        path: a JSON list of [run, sum, round]; made where there is none.

    Raises:
        StorageError: it cannot be read, or is damaged: what it held is not known then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rounds = RoundsInMemory()
        if is_present(path):
            self._rounds.last = _parse(path, read_bytes(path, _MAX_BYTES))

    def claim(self, context: Context) -> None:
        before = dict(self._rounds.last)
        self._rounds.claim(context)
        try:
            write_whole(self._path, self._encoded(), 0o600)
        except StorageError:
            self._rounds.last = before
            raise

    def _encoded(self) -> bytes:
        rows = [[run, which, last] for (run, which), last in sorted(self._rounds.last.items())]
        data = json.dumps(rows).encode()
        if len(data) > _MAX_BYTES:
            raise StorageError(f"cannot write {self._path}", "it is full of runs")
        return data


def _parse(path: Path, data: bytes) -> dict[tuple[str, Sum], int]:
    try:
        rows = _ROWS.validate_json(data)
    except ValidationError:
        rows = []
    found = {(run, which): last for run, which, last in rows}
    if not rows or len(found) < len(rows):
        raise StorageError(
            f"{path} is damaged",
            "it holds the rounds that this node masked, and is not what a node writes",
            "Restore it; with an empty one, rounds of earlier runs could be masked again.",
        )
    return found
