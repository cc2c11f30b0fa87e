"""When a node stops by itself: after some runs, or when nobody has come for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("fedsms.node")


class StopRule:
    """Counts who is here, and says when it is time to go.

    Args:
        leave: called, once or more often, when it is time to go.
        runs: after so many it is time to go; 0 counts none.
        patience: seconds without a session after which it is time too; 0 waits for ever.
    """

    def __init__(self, leave: Callable[[], object], runs: int = 0, patience: float = 0) -> None:
        self._leave = leave
        self._runs_left = runs
        self._patience = patience
        self._here = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """From now on the node can be dialled."""
        self._wait_for_somebody()

    def came(self) -> None:
        """A session has begun."""
        self._here += 1
        if self._timer is not None:
            self._timer.cancel()

    def left(self, *, after_a_run: bool) -> None:
        """A session has ended, and a coordinator's run with it or not."""
        self._here -= 1
        if after_a_run and self._runs_left:
            self._runs_left -= 1
            if not self._runs_left:
                log.info("the runs to serve are done")
                self._leave()
        self._wait_for_somebody()

    def _wait_for_somebody(self) -> None:
        if self._patience and not self._here:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._patience, self._nobody_came)

    def _nobody_came(self) -> None:
        log.info("no coordinator has come for %g s", self._patience)
        self._leave()
