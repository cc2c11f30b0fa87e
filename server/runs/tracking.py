"""Which trackers follow a run, and whether they can."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from server.display.trackers.tracker import Status, TrackedRun, Tracker, Tracking
from server.runs.report import plain_settings
from server.runs.resume import StoppedRun, read_settings
from server.runs.run_folder import RunFolder
from server.runs.setting import Tracked
from shared.errors import UsageError
from shared.extras import check_extra

NEEDS = {"tensorboard": "tensorboardX", "mlflow": "mlflow"}
"""The package that each tracker needs; requirements-NAME.txt has it with its own needs."""
SERVER = "MLFLOW_TRACKING_URI"


def trackers_of(track: Tracked) -> list[str]:
    """Their names."""
    return [] if track == "off" else track.split(",")


def check_tracking(track: Tracked) -> None:
    """Imports nothing. Raises UsageError where a tracker lacks its package, or its server."""
    for name in trackers_of(track):
        check_extra(f"--track {name}", NEEDS[name], name)
    if "mlflow" in trackers_of(track) and not os.environ.get(SERVER):
        raise UsageError(
            "--track mlflow needs to know where MLflow is",
            f"{SERVER} is not set",
            f"Name its server: {SERVER}=http://127.0.0.1:5000",
        )


def tracking_of(
    track: Tracked,
    folder: RunFolder,
    stopped: StoppedRun | None,
    tell: Callable[[str], object],
) -> list[Tracking]:
    """An observer for each tracker; [] where there are none.

    Args:
        stopped: the run that goes on; None for a new one.
        tell: given one line of each tracker that fails.
    """
    if track == "off":
        return []
    values = read_settings(folder.path)[0]
    settings = plain_settings(values)
    settings |= _versions(values)
    run = TrackedRun(folder.path, values["run"], settings)
    before = stopped.rounds if stopped is not None else []
    how = f"What is missing is written by: python -m server train --resume {folder.path}"
    return [
        Tracking(name, _make(name, run), before, folder.settle, tell, how)
        for name in trackers_of(track)
    ]


def _versions(values: dict[str, object]) -> dict[str, object]:
    told = values.get("coordinator")
    versions = told.get("versions", {}) if isinstance(told, dict) else {}
    return {f"versions.{name}": version for name, version in versions.items()}


def _make(name: str, run: TrackedRun) -> Tracker:
    if name == "tensorboard":
        from server.display.trackers.tensorboard import TensorBoardTracker

        return TensorBoardTracker(run)
    from server.display.trackers.mlflow import MlflowTracker

    return MlflowTracker(run)


async def finish_all(trackers: Sequence[Tracking], status: Status) -> None:
    """Waits, for no longer than their patience, until each has all. Idempotent."""
    for one in trackers:
        await one.finish(status)
