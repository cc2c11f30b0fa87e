"""From the flags of `python -m server train` to a run that begins, or that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from server.cli.given_nodes import Given
from server.cli.train_options import (
    TIMEOUT_NAMES,
    changed_timeouts,
    check_mode,
    check_no_conflict,
    typed,
)
from server.pointers.stepwise import check_stepwise
from server.rounds.cohort import MinNodes
from server.runs.resume import open_stopped, with_changes
from server.runs.settings import RunSettings
from server.runs.training_run import FinishedRun, resume, train, with_flags
from shared.model.recipe import load_recipe
from shared.wire.timeouts import Timeouts

DECIDING = (
    "recipe",
    "rounds",
    "seed",
    "cohort",
    "aggregation",
    "norm_bound",
    "trim",
    "mode",
    "replay",
)
"""Flags on which a run's weights depend: a resumed run takes no others than it began with."""
PLACING = ("run_dir", "name", "checkpoints")
"""Flags that say where a new run lies."""


def begin(given: Given, as_json: bool, flags: dict[str, Any]) -> FinishedRun:
    """Trains from the start.

    Args:
        flags: the other flags of the command, by parameter name.

    Raises:
        FedsmsError: as server/runs/training_run.py says, or a flag is wrong.
    """
    check_mode(click.get_current_context(), flags["mode"])
    federation = {name: flags[name] for name in ("rounds", "aggregation", "norm_bound", "trim")}
    recipe = with_flags(load_recipe(flags["recipe"]), **federation)
    if flags["mode"] == "pointers":
        check_stepwise(recipe)  # before anybody is dialled and a run folder made
    settings = RunSettings(
        nodes=tuple(given.addresses()),
        recipe=recipe,
        recipe_name=flags["recipe"],
        seed=flags["seed"],
        run_dir=flags["run_dir"],
        name=flags["name"] or Path(flags["recipe"]).stem,
        checkpoints=flags["checkpoints"],
        min_nodes=_min_nodes(flags),
        cohort=flags["cohort"],
        timeouts=Timeouts(**{name: flags[name] for name in TIMEOUT_NAMES}),
        mode=flags["mode"],
        replay=flags["replay"],
        identity=given.identity,
        as_json=as_json,
    )
    return train(settings)


def go_on(folder: Path, given: Given, as_json: bool, flags: dict[str, Any]) -> FinishedRun:
    """Trains on from the last completed round of a stopped run; raises as `begin` does.

    What decides the weights is the run's own. Flags that the user types may change where nodes
    are, how long to wait for them and how many are needed.
    """
    typed_names = typed(click.get_current_context())
    stopped = open_stopped(folder)
    try:
        wanted = {name: flags[name] for name in DECIDING + PLACING}
        check_no_conflict(wanted, _deciding(stopped.settings), typed_names)
        moved = given.addresses() if "node" in typed_names else ()
        if not moved:
            given.vet(stopped.settings.nodes)
        changes: dict[str, Any] = {
            "timeouts": changed_timeouts(stopped.settings.timeouts, flags, typed_names),
            "as_json": as_json,
            "identity": given.identity,
        }
        if "min_nodes" in typed_names:
            changes["min_nodes"] = _min_nodes(flags)
        settings = with_changes(stopped.settings, tuple(moved), **changes)
    except BaseException:
        stopped.lock.release()
        raise
    return resume(stopped, settings)


def _min_nodes(flags: dict[str, Any]) -> MinNodes | None:
    return MinNodes.parse(flags["min_nodes"]) if flags["min_nodes"] else None


def _deciding(settings: RunSettings) -> dict[str, Any]:
    """The run's own values of the flags that decide its weights."""
    federation = settings.recipe.federation
    return {
        "recipe": settings.recipe_name,
        "seed": settings.seed,
        "cohort": settings.cohort,
        **{name: getattr(federation, name) for name in ("rounds", "aggregation", "norm_bound")},
        "trim": federation.trim,
        "mode": settings.mode,
        "replay": settings.replay,
        "checkpoints": settings.checkpoints,
    }
