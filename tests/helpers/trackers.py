"""What trackers were given, read with the programs that people read them with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from server.display.trackers.tracker import TrackedRun


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
