"""A run that a federation leads, counted for Prometheus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from server.federation.run import Run

if TYPE_CHECKING:  # it loads torch
    from server.display.run_metrics import RunMetrics
    from server.federation.pace import Work
    from server.runs.training_run import Steering


def metered(work: Work, metrics: RunMetrics) -> Work:
    """The same run, that the metrics follow."""

    async def counted(steering: Steering) -> Path:
        with metrics.running() as ends:
            path = await work(replace(steering, observers=(*steering.observers, metrics)))
            ends(Run(path).status)
            return path

    return counted
