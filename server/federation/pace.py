"""A run in the background that takes its next round when whoever leads it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.federation import background
from server.federation.events import Ended, Event, Notice, Progress
from server.rounds.records import Round
from server.runs.run_folder import RunFolder
from server.runs.training_run import Steering
from shared.model.vectors import Vector
from shared.wire.commands import Progress as BatchProgress

Work = Callable[[Steering], Coroutine[Any, Any, Path]]


class Pace:
    """Leads a run.

    Args:
        work: the run, given how it is steered.
        steering: what is known of that already.
        deliver: given each event, in the background's thread.
        opened: told of the run's folder once it is there, in the same thread.

    Attributes:
        ended: has a result once the run is over.
        waits: a round was delivered, and the run waits for `go_on` or `stop`.
        is_stopping: it was told to stop.
    """

    def __init__(
        self,
        work: Work,
        steering: Steering,
        deliver: Callable[[Event], object],
        opened: Callable[[Path, Pace], object],
    ) -> None:
        self.ended: Future[None] = Future()
        self.waits = False
        self.is_stopping = False
        self._work = work
        self._deliver = deliver
        self._opened = opened
        self._folder: RunFolder | None = None
        self._answer: asyncio.Future[bool] | None = None
        self._steering = replace(
            steering,
            observers=(*steering.observers, self),
            proceed=self._proceed,
            opened=self._open,
        )
        self._task: background.Task[Path] | None = None

    @property
    def has_begun(self) -> bool:
        return self._task is not None

    def begin(self) -> None:
        """Begins the run. Once."""
        self._task = background.Task(self._work(self._steering))
        self._task.outcome.add_done_callback(self._over)

    def go_on(self) -> None:
        """Answers a round: take the next one."""
        self._say(True)

    def stop(self) -> None:
        """Ends the run in good order: where it waits, or by giving up the round that goes on.

        Idempotent; `ended` says when it is over.
        """
        if self._task is None or self.ended.done():
            return
        self.is_stopping = True
        if self.waits:
            self._say(False)
        else:
            self._task.cancel()

    def settle(self) -> None:
        """Waits until the rounds that are complete are on the disk. Raises StorageError."""
        if self._folder is not None and not self.ended.done():
            self._folder.settle()

    def on_progress(
        self, number: int, node: str, stage: str, progress: BatchProgress | None
    ) -> None:
        if progress is None:
            self._deliver(Progress(number, node, stage))
        else:
            done = Progress(number, node, stage, progress.done, progress.total, progress.loss)
            self._deliver(done)

    def on_notice(self, number: int, node: str, text: str) -> None:
        self._deliver(Notice(number, node, text))

    def on_round(self, record: Round, state: Vector) -> None:
        """`_proceed` delivers it."""

    async def _proceed(self, record: Round) -> bool:
        self._answer = asyncio.get_running_loop().create_future()
        self.waits = True
        self._deliver(record)
        return await self._answer

    def _say(self, answer: bool) -> None:
        self.waits = False

        def say() -> None:
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(answer)

        assert self._task is not None
        self._task.call(say)

    def _open(self, folder: RunFolder) -> None:
        self._folder = folder
        self._opened(folder.path, self)

    def _over(self, outcome: Future[Path]) -> None:
        with suppress(RuntimeError):  # an event loop that was to be told may be closed by now
            self._deliver(Ended(outcome.exception()))
        self.ended.set_result(None)
