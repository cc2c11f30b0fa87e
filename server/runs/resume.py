"""Going on with a run that was stopped, at any moment and in any way.

A round is completed when its model is in the run folder: `model.safetensors` says which round it
is of, and is replaced whole. The round's metrics are written before it, so there may be some of a
round whose model never came; they are cut off, and the round is done again. As a round depends on
the model before it and the run's seed alone, the weights that a resumed run ends with are those of
one that nobody stopped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from server.aggregation.server_optimizer import Moments
from server.nodes.addresses import NodeAddress, parse_address
from server.rounds.records import Round, round_from_rows
from server.runs.run_lock import RunLock
from server.runs.server_moments import MOMENTS_FILES, drop_moments, load_moments
from server.runs.settings import RunSettings, from_json
from shared.errors import StorageError, UsageError
from shared.files import read_bytes, write_whole
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.trained_model.saved_model import load_state, round_of

MAX_SETTINGS_BYTES = 64 * 2**20
MAX_METRICS_BYTES = 2**30
"""Room for some 10,000 nodes, and for a million of their rows."""


@dataclass(frozen=True, eq=False)
class StoppedRun:
    """A run folder as it was found.

    run: the run's id. completed: rounds whose model is there.
    state: the model (P,) after them; None where there is none yet.
    rounds: their records.
    resumed_after: after how many completed rounds it was resumed each time, this one included.
    rows_at_start: the rows that each node told when it was first there, by its id.
    secure_sums: whether it was begun with secure aggregation.
    own_rule: what its script's own aggregation rule is called; None where the recipe's was used.
    moments: what the server optimiser remembers after the last completed round.
    lock: held; whoever opened the run releases it.
    """

    path: Path
    run: str
    settings: RunSettings
    completed: int
    state: Vector | None
    rounds: list[Round]
    resumed_after: list[int]
    rows_at_start: dict[str, Any]
    lock: RunLock
    own_rule: str | None = None
    moments: Moments = field(default_factory=dict)
    secure_sums: bool = False


def open_stopped(path: Path) -> StoppedRun:
    """Takes a run folder over, and cuts off what is of no completed round.

    Raises:
        StorageError: another coordinator is at work there, or it is no run folder, or damaged.
        UsageError: it is a run that cannot be resumed.
    """
    lock = RunLock(path)
    try:
        return _opened(path, lock)
    except BaseException:
        lock.release()
        raise


def _opened(path: Path, lock: RunLock) -> StoppedRun:
    values, settings = read_settings(path)
    if settings.mode != "rounds":
        raise UsageError(
            f"the run in {path} cannot be resumed",
            "it trained through pointers, whose order of batches is not kept",
            "Train anew; its last model serves predict and evaluate.",
        )
    _sweep(path)
    completed = round_of(path, settings.recipe)
    kept = [row for row in _rows(path / "metrics.jsonl") if row["round"] <= completed]
    write_whole(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept).encode())
    is_secure = values.get("secure_sums") is True
    rounds = _records(path, kept, completed, settings.recipe.federation.rounds, is_secure)
    # Not by its config, which a crash in the first round may have kept from being written.
    state = load_state(path, settings.recipe) if completed else None
    moments = load_moments(path, completed, settings.recipe)
    drop_moments(path, completed)
    resumed = [*values["resumed_after"], completed]
    return StoppedRun(
        path,
        values["run"],
        settings,
        completed,
        state,
        rounds,
        resumed,
        values.get("rows_at_start", {}),  # runs of older versions have none
        lock,
        values.get("own_rule"),
        moments,
        is_secure,
    )


def read_rounds(path: Path) -> list[Round]:
    """The completed rounds of a run folder, which may be at work and stays as it is.

    Raises:
        StorageError: it is no run folder, or damaged.
    """
    values, settings = read_settings(path)
    is_secure = values.get("secure_sums") is True
    completed = round_of(path, settings.recipe)
    kept = [row for row in _rows(path / "metrics.jsonl") if row["round"] <= completed]
    return _records(path, kept, completed, settings.recipe.federation.rounds, is_secure)


def _records(
    path: Path, rows: list[dict[str, Any]], completed: int, rounds: int, is_secure: bool
) -> list[Round]:
    by_number: dict[int, list[dict[str, Any]]] = {n: [] for n in range(1, completed + 1)}
    try:
        for row in rows:
            by_number[row["round"]].append(row)
        # of a round whose secure sum was lost there is nothing
        there = [own for own in by_number.values() if own or not is_secure]
        return [round_from_rows(own, rounds) for own in there]
    except (KeyError, TypeError, StopIteration) as error:
        raise _damaged(path / "metrics.jsonl", f"a round's row lacks {error}") from error


def read_settings(path: Path) -> tuple[dict[str, Any], RunSettings]:
    """What settings.json holds, and the settings that it makes."""
    source = path / "settings.json"
    if not source.exists():
        raise StorageError(
            f"there is no run in {path}",
            f"a run folder has a {source.name}",
            "Name the run's own folder, such as runs/20261122-170501-default.",
        )
    try:
        values = json.loads(read_bytes(source, MAX_SETTINGS_BYTES))
        _require(isinstance(values.get("rows_at_start", {}), dict))
        _require(isinstance(values["run"], str) and isinstance(values["resumed_after"], list))
        settings = from_json(
            values,
            nodes=tuple(_address(node, one) for node, one in values["nodes"].items()),
            recipe=Recipe.parse(values["recipe"], source=str(source)),
            run_dir=path.parent,
        )
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(source, f"{type(error).__name__}: {error}") from error
    except UsageError as error:
        raise _damaged(source, str(error)) from error
    return values, settings


def _address(node: str, told: dict[str, Any]) -> NodeAddress:
    # runs of older versions have no word of who dials in
    return replace(parse_address(node, told["url"]), dials_in=told.get("dials_in") is True)


def _sweep(path: Path) -> None:
    """Removes what a write that was cut off has left; see shared/files.py."""
    names = ("model.safetensors", "config.json", "metrics.jsonl", "summary.json", MOMENTS_FILES)
    for name in names:
        for left in path.rglob(f".{name}.*"):
            left.unlink(missing_ok=True)


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, without a last line that was cut off."""
    if not path.exists():
        return []
    *lines, _ = read_bytes(path, MAX_METRICS_BYTES).split(b"\n")
    try:
        rows = [json.loads(line.decode()) for line in lines]  # of text it is quicker
        _require(all(isinstance(row["round"], int) for row in rows))
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    return rows


def _require(so: bool) -> None:
    if not so:
        raise TypeError("a value of another type")


def _damaged(path: Path, cause: str) -> StorageError:
    return StorageError(
        f"the run cannot be resumed: {path} is damaged or of another version",
        cause,
        "Train anew, or put a copy of the file in its place, if there is one.",
    )


def with_changes(
    settings: RunSettings,
    nodes: tuple[NodeAddress, ...] = (),
    **changes: Any,
) -> RunSettings:
    """The settings of a stopped run for going on: who is where may change, who they are may not.

    Args:
        nodes: new addresses of the run's nodes; none keeps the old ones.
        changes: settings on which no weight depends.

    Raises:
        UsageError: the nodes are not those of the run.
    """
    ids, wanted = ({node.id for node in some} for some in (settings.nodes, nodes or settings.nodes))
    if ids != wanted:
        raise UsageError(
            "the nodes are not those of the run",
            f"it has {', '.join(sorted(ids))}",
            "Give an address for each of them, or no --node at all.",
        )
    return replace(settings, nodes=nodes or settings.nodes, **changes)
