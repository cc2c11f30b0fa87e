"""What trackers were given, read with the programs that people read them with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from server.display.trackers.tracker import TrackedRun, Tracker, Tracking
from tests.helpers.run_folders import made_round

STATE = np.zeros(3, np.float32)


def event_files(run: Path) -> Any:
    """TensorBoard's own reader of a run folder's events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    return found.Reload()


def curve(run: Path, name: str) -> list[tuple[int, float]]:
    """Steps and values of a scalar, as TensorBoard draws it."""
    return [(one.step, one.value) for one in event_files(run).Scalars(name)]


def tracked(path: Path, settings: Sequence[str] = ("recipe", "seed")) -> TrackedRun:
    return TrackedRun(path, "0123", {name: f"{name}'s" for name in settings})


def followed(
    tracker: Tracker, told: list[str], rounds: int = 3, patience: float = 60.0, before: int = 0
) -> None:
    """A run of these rounds, with a tracker beside it."""

    async def run() -> None:
        done = [made_round(number, rounds) for number in range(1, before + 1)]
        tracking = Tracking("it", tracker, done, lambda: None, told.append, "Do so.", patience)
        for number in range(before + 1, rounds + 1):
            tracking.on_round(made_round(number, rounds), STATE)
        await tracking.finish("completed")
        await tracking.finish("completed")  # idempotent

    asyncio.run(run())
