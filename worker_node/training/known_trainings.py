"""What the node remembers of trainings, so that a repeated request never trains twice.

A training is known by who asked, in which run, and everything that decides its result. It belongs
to the node, not to a connection: a coordinator whose connection broke asks again over a new one,
and gets the training that still goes on, or its result. Nobody else can: the key holds who asked,
and the run's id is drawn at random. A training that nobody waits for any more is given up after a
while, so that a coordinator which never comes back does not keep the trainer from others.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from shared.model.vectors import Vector
from shared.wire.commands import (
    CompareCommand,
    CompareReport,
    OnProgress,
    Progress,
    SecureReport,
    TrainCommand,
    TrainReport,
)

MAX_FINISHED = 4
"""Results that a node remembers; of the same run only the newest."""
MAX_FINISHED_BYTES = 2**28
FINISHED_SECONDS = 600.0
"""How long a result is remembered."""
MAX_ORPHANS = 4
"""Trainings under way that nobody waits for; one more gives up the oldest."""

Source = Literal["", "under way", "finished"]
"""Where the result of a training comes from: "" for one that is begun."""
Trained = tuple[TrainReport | SecureReport | CompareReport, npt.NDArray[Any]]
"""A report, and the trained state (P,); in a private run the numbers that were told, and how long
they took; of a comparison, whose own model stays, no numbers (0,)."""
Begin = Callable[[OnProgress], Coroutine[Any, Any, Trained]]


@dataclass(frozen=True)
class Key:
    """Who wants what trained. `inputs` is the digest of all that decides the result."""

    peer: str
    run: str
    inputs: bytes


def key_of(peer: str, command: TrainCommand | CompareCommand, state: Vector) -> Key:
    """The key of a command to train a state (P,), or to compare it."""
    digest = hashlib.blake2b(state.tobytes(), digest_size=32)
    own: tuple[object, ...] = (
        ("compare", command.start)
        if isinstance(command, CompareCommand)
        else (command.order, command.round)
    )
    # what is trained for a sum leaves below its masks: it may have a share of the noise alone
    for fact in (command.recipe, command.seed, command.rounds, command.secure, *own):
        digest.update(f"\n{fact}".encode())
    return Key(peer, command.run, digest.digest())


@dataclass(eq=False)
class _Training:
    """One training; `task` gives its result to whoever asks, and however many do."""

    key: Key
    task: asyncio.Task[Trained]
    listeners: list[OnProgress] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    @property
    def finished(self) -> bool:
        return self.task.done()

    @property
    def orphaned(self) -> bool:
        return not self.listeners and not self.task.done()

    @property
    def nbytes(self) -> int:
        return self.task.result()[1].nbytes

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Trainings:
    """The node's trainings, under way and finished. For the node's event loop alone.

    Args:
        keep_seconds: how long a training goes on that nobody waits for; 0 gives it up at once.
    """

    def __init__(self, keep_seconds: float) -> None:
        self._keep = keep_seconds
        self._known: dict[Key, _Training] = {}  # in the order in which they began

    def __len__(self) -> int:
        return len(self._known)

    def source(self, key: Key) -> Source:
        """Where `result_of`, called now, would take the result from."""
        training = self._known.get(key)
        if training is None or training.task.cancelling():
            return ""
        return "finished" if training.finished else "under way"

    def knows(self, peer: str, run: str) -> bool:
        """Whether a training of a run is under way or remembered."""
        return any((key.peer, key.run) == (peer, run) for key in self._known)

    async def result_of(self, key: Key, begin: Begin, on_progress: OnProgress) -> Trained:
        """The result for a key: remembered, awaited, or begun now.

        Safe to cancel: the training then goes on for a while, for whoever asks again.

        Raises:
            FedsmsError: what the training failed with; a failure is not remembered.
            asyncio.CancelledError: the training was given up.
        """
        training = self._known[key] if self.source(key) else self._begin(key, begin)
        training.listeners.append(on_progress)
        if not training.finished:
            training.stop_timer()
        try:
            # A copy for each: nobody may change what another is still to get.
            report, state = await asyncio.shield(training.task)
            return report, state.copy()
        except asyncio.CancelledError:
            if training.task.cancelling():  # who is told that it was given up finds the node idle
                await asyncio.wait([training.task])
            raise
        finally:
            training.listeners.remove(on_progress)
            if training.orphaned:
                self._orphan(training)

    def give_up(self, key: Key) -> None:
        """Stops a training, unless somebody else waits for it too; a result stays."""
        training = self._known.get(key)
        if training is not None and not training.finished and len(training.listeners) <= 1:
            training.task.cancel()

    def stop(self) -> None:
        """Stops all that are under way, whoever waits for them; results stay."""
        for training in list(self._known.values()):
            if not training.finished:
                training.task.cancel()

    def _begin(self, key: Key, begin: Begin) -> _Training:
        self._forget_older(key)

        def tell(progress: Progress) -> None:
            for listener in training.listeners:
                listener(progress)

        training = _Training(key, asyncio.create_task(begin(tell)))
        self._known[key] = training
        training.task.add_done_callback(lambda _: self._finish(training))
        return training

    def _forget_older(self, key: Key) -> None:
        """A run that asks for something new has no use for what it asked for before."""
        for old in [one for one in self._known.values() if one.key.run == key.run]:
            if old.key.peer == key.peer and (old.finished or old.orphaned):
                self._forget(old)

    def _orphan(self, training: _Training) -> None:
        loop = asyncio.get_running_loop()
        training.timer = loop.call_later(self._keep, training.task.cancel)
        orphans = [one for one in self._known.values() if one.orphaned]
        for oldest in orphans[:-MAX_ORPHANS]:
            self._forget(oldest)

    def _finish(self, training: _Training) -> None:
        training.stop_timer()
        if self._known.get(training.key) is not training:
            return
        if training.task.cancelled() or training.task.exception() is not None:
            self._forget(training)
            return
        loop = asyncio.get_running_loop()
        training.timer = loop.call_later(FINISHED_SECONDS, self._forget, training)
        finished = [one for one in self._known.values() if one.finished]
        while len(finished) > MAX_FINISHED or (
            len(finished) > 1 and sum(one.nbytes for one in finished) > MAX_FINISHED_BYTES
        ):
            self._forget(finished.pop(0))

    def _forget(self, training: _Training) -> None:
        training.stop_timer()
        if self._known.get(training.key) is training:
            del self._known[training.key]
        if not training.finished:
            training.task.cancel()
