"""What this node did in which run: what it looks at before it countersigns a model's passport.

One small JSON file, written whole. It holds no row and no number of a model: run ids, rounds, how
many rows there were, and digests.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import NodeFailed, StorageError
from shared.files import is_present, read_bytes, write_whole
from shared.wire.commands import CountersignCommand

MAX_RUNS = 200
"""Runs that are remembered, the newest ones."""
MAX_MODELS = 64
"""Models of each coordinator that are remembered as measured here."""


class _Part(BaseModel):
    """What this node did in one run; recipe is a digest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    coordinator: str
    recipe: str
    rows: int
    rounds: list[int] = []


class _Kept(BaseModel):
    """runs: by the run's id. measured: digests of models, by coordinator."""

    model_config = ConfigDict(extra="forbid", strict=True)

    runs: dict[str, _Part] = {}
    measured: dict[str, list[str]] = {}


class Participation:
    """One node's memory of its runs.

    Args:
        path: where it is kept; None forgets it when the node ends.

    Raises:
        StorageError: the file is damaged, or cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept = _read(path) if path is not None and is_present(path) else _Kept()

    def trains(self, coordinator: str, run: str, recipe: str, round_number: int, rows: int) -> None:
        """Notes a training that begins.

        A run belongs to the coordinator, the recipe and the rows that it was first trained with;
        what says otherwise later is noted nowhere.

        Args:
            recipe: its digest.

        Raises:
            NodeFailed: it cannot be kept.
        """
        runs = self._kept.runs
        part = runs.pop(run, None) or _Part(coordinator=coordinator, recipe=recipe, rows=rows)
        runs[run] = part  # the newest is the last
        if (part.coordinator, part.recipe, part.rows) != (coordinator, recipe, rows):
            return
        part.rounds = sorted({*part.rounds, round_number})
        for old in list(runs)[:-MAX_RUNS]:
            del runs[old]
        self._keep()

    def measures(self, coordinator: str, model: str) -> None:
        """Notes the digest of a model that was measured. Raises NodeFailed as `trains` does."""
        known = self._kept.measured.pop(coordinator, [])
        self._kept.measured[coordinator] = [*(one for one in known if one != model), model]
        self._kept.measured[coordinator] = self._kept.measured[coordinator][-MAX_MODELS:]
        for old in list(self._kept.measured)[:-MAX_RUNS]:
            del self._kept.measured[old]
        self._keep()

    def has_measured(self, coordinator: str, model: str) -> bool:
        return model in self._kept.measured.get(coordinator, ())

    def trained(self, coordinator: str, run: str, recipe: str) -> bool:
        """Whether this node trained in that coordinator's run, by that recipe (its digest)."""
        part = self._kept.runs.get(run)
        return part is not None and (part.coordinator, part.recipe) == (coordinator, recipe)

    def check(self, coordinator: str, command: CountersignCommand) -> None:
        """Raises NodeFailed, that says which, where something told of a run is not so here."""
        part = self._kept.runs.get(command.run)
        if part is None or part.coordinator != coordinator:
            raise _not_so(f"it knows of no such run of {coordinator}")
        if part.recipe != command.recipe:
            raise _not_so("it trained another recipe in that run")
        if missing := sorted(set(command.rounds) - set(part.rounds)):
            raise _not_so(f"it did not train in round {missing[0]}")
        if command.rows is not None and command.rows != part.rows:
            raise _not_so("it trained on another number of rows")

    def _keep(self) -> None:
        if self._path is None:
            return
        try:
            write_whole(self._path, self._kept.model_dump_json().encode(), 0o600, durable=False)
        except StorageError:
            raise NodeFailed("the node cannot note what it takes part in", "disk trouble") from None


def _not_so(why: str) -> NodeFailed:
    return NodeFailed("the node does not countersign what it does not know to be so", why)


def _read(path: Path) -> _Kept:
    try:
        return _Kept.model_validate_json(read_bytes(path, 64 * 2**20))
    except ValidationError:
        raise StorageError(
            f"{path} is damaged, which holds what this node took part in",
            next_step="Look at it; without the file, no run from before is countersigned.",
        ) from None
