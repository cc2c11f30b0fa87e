"""The live page of a run that a federation leads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from server.display.page.serving import LivePage
from server.rounds.records import Round
from server.runs.report import round_data, run_data


class LiveRun:
    """A run and its page.

    Args:
        told: given the page's address, once it is served.

    Attributes:
        path: the run folder; None until it is there.
    """

    def __init__(self, told: Callable[[str], object]) -> None:
        self.path: Path | None = None
        self.page = LivePage(self._all, self._addition, _press_ctrl_c, told)

    def _all(self) -> Mapping[str, Any] | None:
        return None if self.path is None else run_data(self.path)

    @staticmethod
    def _addition(record: Round) -> Mapping[str, Any]:
        return round_data(record, sorted({one.node for one in record.nodes} | {*record.left_out}))


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
