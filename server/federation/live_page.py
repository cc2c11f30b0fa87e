"""The live page of a run that a federation leads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.display.page.serving import LivePage
from server.rounds.records import Round
from server.runs.report import round_data, run_data

if TYPE_CHECKING:  # it loads torch
    from server.runs.run_folder import RunFolder
    from server.runs.training_run import Steering


class LiveRun:
    """A run and its page.

    Args:
        told: given the page's address, once it is served.
        stop: ends the run as Ctrl-C does.

    Attributes:
        path: the run folder; None until it is there.
    """

    def __init__(
        self, told: Callable[[str], object], stop: Callable[[], object] | None = None
    ) -> None:
        self.path: Path | None = None
        self.page = LivePage(self._all, self._addition, stop or press_ctrl_c, told)

    def _all(self) -> Mapping[str, Any] | None:
        return None if self.path is None else run_data(self.path)

    @staticmethod
    def _addition(record: Round) -> Mapping[str, Any]:
        return round_data(record, sorted({one.node for one in record.nodes} | {*record.left_out}))


def on_a_page(live: LiveRun, steering: Steering) -> Steering:
    """The steering of a run that the page shows."""
    opened = steering.opened

    def open_run(folder: RunFolder) -> None:
        live.path = folder.path
        opened(folder)

    return replace(steering, observers=(*steering.observers, live.page), opened=open_run)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
