"""From the flags of `python -m server train` to a run that begins, or that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from server.cli.given_nodes import Given
from server.cli.setting_options import check_mode, check_resumed, typed
from server.pointers.stepwise import check_stepwise
from server.runs.resume import open_stopped, with_changes
from server.runs.settings import changed, from_values
from server.runs.training_run import FinishedRun, resume, train
from shared.model.recipe import load_recipe


def begin(given: Given, as_json: bool, flags: dict[str, Any]) -> FinishedRun:
    """Trains from the start.

    Args:
        flags: the settings' flags, by name.

    Raises:
        FedsmsError: as server/runs/training_run.py says, or a flag is wrong.
    """
    check_mode(click.get_current_context(), flags["mode"])
    settings = from_values(
        flags,
        load_recipe(flags["recipe"]),
        nodes=tuple(given.addresses()),
        identity=given.identity,
        as_json=as_json,
    )
    if settings.mode == "pointers":
        check_stepwise(settings.recipe)  # before anybody is dialled and a run folder made
    return train(settings)


def go_on(folder: Path, given: Given, as_json: bool, flags: dict[str, Any]) -> FinishedRun:
    """Trains on from the last completed round of a stopped run; raises as `begin` does.

    What decides the weights is the run's own. Flags that the user types may change where nodes
    are, how long to wait for them and how many are needed.
    """
    typed_names = typed(click.get_current_context())
    stopped = open_stopped(folder)
    try:
        check_resumed(stopped.settings, flags, typed_names)
        moved = given.addresses() if "node" in typed_names else ()
        if not moved:
            given.vet(stopped.settings.nodes)
        typed_values = {name: flags[name] for name in typed_names & flags.keys()}
        settings = with_changes(
            changed(stopped.settings, typed_values),
            tuple(moved),
            as_json=as_json,
            identity=given.identity,
        )
    except BaseException:
        stopped.lock.release()
        raise
    return resume(stopped, settings)
