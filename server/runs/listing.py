"""Which runs there are, from their folders alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from server.runs.run_lock import is_locked
from shared.errors import StorageError, UsageError
from shared.files import is_present, read_bytes, storage_error

_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ListedRun:
    """A run folder.

    status: as of Run.status; "damaged" where its files cannot be read.
    recipe, owners: None where they are not known. rounds: completed; of: that there were to be.
    roc_auc, f1, mcc: of its last round; None where it has none.
    """

    name: str
    status: str
    recipe: str | None = None
    owners: int | None = None
    rounds: int = 0
    of: int | None = None
    roc_auc: float | None = None
    f1: float | None = None
    mcc: float | None = None
    compared: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def list_runs(parent: Path) -> Sequence[ListedRun]:
    """The run folders of a folder, by name, and so by age.

    Raises:
        UsageError: there is no such folder. StorageError: it cannot be read.
    """
    if not parent.is_dir():
        raise UsageError(
            f"there is no folder {parent}",
            next_step="Train first, or name the folder with --run-dir.",
        )
    try:
        folders = sorted(one for one in parent.iterdir() if (one / "settings.json").is_file())
    except OSError as error:
        raise storage_error("read", parent, error) from error
    return [_listed(folder) for folder in folders]


def _listed(folder: Path) -> ListedRun:
    try:
        settings, summary = _table(folder / "settings.json"), _table(folder / "summary.json")
        metrics = summary.get("metrics") or {}
        status = "running" if is_locked(folder) else str(summary.get("status", "interrupted"))
        return ListedRun(
            folder.name,
            status,
            str(settings["recipe_name"]),
            len(settings["nodes"]),
            int(summary.get("rounds_completed", 0)),
            int(settings["recipe"]["federation"]["rounds"]),
            metrics.get("roc_auc"),
            metrics.get("f1"),
            metrics.get("mcc"),
            (folder / "comparison.json").is_file(),
        )
    except (StorageError, KeyError, TypeError, ValueError, AttributeError):
        return ListedRun(folder.name, "damaged")


def _table(path: Path) -> dict[str, Any]:
    """A file's JSON; {} where there is no file. Raises ValueError where it is damaged."""
    if not is_present(path):
        return {}
    try:
        found = json.loads(read_bytes(path, _MAX_BYTES))
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(found, dict):
        raise TypeError("no table")
    return found
