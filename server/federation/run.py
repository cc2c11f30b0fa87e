"""A run, seen through its folder: also one of another day, and one that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.federation.html import html_table
from server.federation.results import RoundResult, Worth, table_of
from shared.errors import StorageError
from shared.files import read_bytes

if TYPE_CHECKING:  # it loads torch
    from server.federation.model import Model
    from shared.model.metrics import Metrics


def _nothing_to_wait_for() -> None:
    """A run of another day is on the disk."""


@dataclass(frozen=True)
class Run:
    """A run folder. What it says is read from there each time, so that it is always true.

    Args:
        path: for instance Path("runs/20261122-170501-default").
        settle: waits until the rounds that are complete are on the disk.
    """

    path: Path
    settle: Callable[[], None] = field(default=_nothing_to_wait_for, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def rounds(self) -> tuple[RoundResult, ...]:
        """The completed rounds. Raises StorageError where this is no run folder, or damaged."""
        from server.runs.resume import read_rounds

        self.settle()
        return tuple(RoundResult.of(record) for record in read_rounds(self.path))

    @property
    def metrics(self) -> Metrics | None:
        """Those of the last completed round that was measured; None before the first round."""
        rounds = self.rounds
        measured = [one.metrics for one in rounds if one.metrics.rows]
        return measured[-1] if measured else rounds[-1].metrics if rounds else None

    @property
    def model(self) -> Model:
        """The model after the last completed round. Raises StorageError before the first."""
        from server.federation.model import Model

        self.settle()
        return Model(self.path)

    @property
    def status(self) -> str:
        """How it stands: "running", "completed", "stopped" by whoever led it, "interrupted" or
        "failed"; all but the first two can be resumed."""
        from server.runs.run_lock import is_locked

        if is_locked(self.path):
            return "running"
        summary = self.path / "summary.json"
        return str(self._json(summary)["status"]) if summary.exists() else "interrupted"

    @property
    def settings(self) -> dict[str, Any]:
        """What it trained with, and whom: settings.json."""
        return self._json(self.path / "settings.json")

    @property
    def comparison(self) -> Worth | None:
        """Was it worth joining; None where nobody compared. Raises StorageError where it is
        damaged."""
        from server.runs.comparison_file import read_comparison

        found = read_comparison(self.path)
        return None if found is None else Worth(str(self.path), found)

    @property
    def handed_out(self) -> dict[str, Any] | None:
        """Which owners keep the model, which do not, and why; None where it was not handed out.

        "round", and "model", the SHA-256 of its numbers, say which one it was.
        """
        path = self.path / "handed_out.json"
        return self._json(path) if path.exists() else None

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary a round and node, and one a round for all nodes (node "*"); for
        instance for pandas.DataFrame."""
        return [record for one in self.rounds for record in one.records()]

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(read_bytes(path, 64 * 2**20))
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{path} is damaged", str(error)) from error
        if not isinstance(found, dict):
            raise StorageError(f"{path} is damaged", "it holds no table")
        return found

    def _repr_html_(self) -> str:
        return html_table(table_of(self.rounds))
