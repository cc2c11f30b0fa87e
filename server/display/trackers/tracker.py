"""A tracker of a run, at work beside it: what it takes never holds up a round, nor ends one."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from server.rounds.records import Round
from shared.errors import FedsmsError, one_line
from shared.quoting import escaped
from shared.wire.commands import Progress

if TYPE_CHECKING:
    from shared.model.vectors import Vector

Status = Literal["completed", "stopped", "interrupted", "failed"]
"""How a run ended, as summary.json has it."""
PATIENCE = 60.0
"""Seconds that a run that is over waits for a tracker."""
WORDS = 200
"""Characters of an error."""

log = logging.getLogger("fedsms.coordinator")


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker knows of a run.

    path: its folder. run: its id, which stays when it is resumed.
    settings: all of them, with versions, by one name each.
    """

    path: Path
    run: str
    settings: dict[str, Any]


class Tracker(Protocol):
    """Where a run's figures go. Called from one thread, in this order; raises what it likes."""

    def begin(self, before: Sequence[Round]) -> None:
        """Opens it, with the rounds that a resumed run has done already."""

    def write(self, record: Round) -> None:
        """A round is complete, and on the disk."""

    def finish(self, status: Status) -> None:
        """The run is over, and its model is on the disk."""

    def close(self) -> None:
        """Lets go of what is open; also called where something failed, or never began."""


class Tracking:
    """An Observer that hands rounds on to a tracker, in a thread of its own.

    A tracker that fails is told of once, and has no further part in the run.

    Args:
        name: the tracker's, for that line.
        before: the rounds that were complete when the run went on; [] for a new one.
        settle: waits until rounds that are complete are on the disk.
        tell: given the line, in the event loop.
        how: what writes what is missing, for that line.
        patience: seconds that `finish` waits.
    """

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        before: Sequence[Round],
        settle: Callable[[], None],
        tell: Callable[[str], object],
        how: str,
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._tracker = tracker
        self._before = before
        self._settle = settle
        self._tell = tell
        self._how = how
        self._patience = patience
        self._jobs: queue.SimpleQueue[Round | Status] = queue.SimpleQueue()
        self._over: asyncio.Future[str] | None = None
        self._is_told = False

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Of no interest to it."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        """The run folder's log has it."""

    def on_round(self, record: Round, state: Vector) -> None:
        if not self._is_told:
            self._put(replace(record, scores=None))

    async def finish(self, status: Status) -> None:
        """Waits until all is written, or something failed, or patience is over. Idempotent.

        Safe to cancel: what is under way goes on for as long as the process does.
        """
        if self._is_told:
            return
        over = self._put(status)
        await asyncio.wait([over], timeout=self._patience)
        if not over.done():
            self._say(f"did not take all within {self._patience:g} s")

    def _put(self, job: Round | Status) -> asyncio.Future[str]:
        if self._over is None:
            loop = asyncio.get_running_loop()
            self._over = loop.create_future()
            self._over.add_done_callback(self._end)
            arguments = (loop, self._over)
            name = f"track-{self._name}"
            # a daemon: one that hangs must not keep the process that has done its work
            threading.Thread(target=self._work, args=arguments, name=name, daemon=True).start()
        self._jobs.put(job)
        return self._over

    def _end(self, over: asyncio.Future[str]) -> None:
        if not over.cancelled():
            self._say(over.result())

    def _say(self, why: str) -> None:
        if why and not self._is_told:
            self._tell(f"{self._name} lacks some of this run: {why}. {self._how}")
        self._is_told = True

    # in the thread

    def _work(self, loop: asyncio.AbstractEventLoop, over: asyncio.Future[str]) -> None:
        why = ""
        try:
            self._follow()
        except FedsmsError as error:
            why = one_line(error)
        except Exception as error:
            # whatever its library raises, the run goes on
            log.debug("tracking with %s failed", self._name, exc_info=True)
            why = f"{type(error).__name__}: {escaped(' '.join(str(error).split()), WORDS)}"
        finally:
            with suppress(Exception):
                self._tracker.close()
        with suppress(RuntimeError):  # of a loop that is closed, whose run nobody waits for
            loop.call_soon_threadsafe(_settle, over, why)

    def _follow(self) -> None:
        self._tracker.begin(self._before)
        while isinstance(job := self._jobs.get(), Round):
            self._settle()
            self._tracker.write(job)
        self._settle()
        self._tracker.finish(job)


def _settle(over: asyncio.Future[str], why: str) -> None:
    if not over.done():
        over.set_result(why)
