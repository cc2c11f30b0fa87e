"""A run of pointer training beside the event loop: its thread, its observers, and how it stops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from server.nodes.link import Link
from server.pointers.client import PointerClient
from server.pointers.training import PointerTraining, RunStopped
from server.rounds.plan import node_seed
from server.rounds.records import Observer, Proceed, Round
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import Progress

STOP_SECONDS = 2.0
"""How long a batch under way may take to end when the run is stopped; then its links are closed."""


class _InTheLoop:
    """Calls observers in the event loop, from the training's thread."""

    def __init__(
        self,
        observers: Sequence[Observer],
        loop: asyncio.AbstractEventLoop,
        proceed: Proceed | None,
        stop: threading.Event,
    ) -> None:
        self._observers = observers
        self._loop = loop
        self._proceed = proceed
        self._stop = stop

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        for observer in self._observers:
            self._loop.call_soon_threadsafe(observer.on_progress, number, node, stage, progress)

    def on_notice(self, number: int, node: str, text: str) -> None:
        for observer in self._observers:
            self._loop.call_soon_threadsafe(observer.on_notice, number, node, text)

    def on_round(self, record: Round, state: Vector) -> None:
        async def tell() -> None:
            for observer in self._observers:
                observer.on_round(record, state)
            if self._proceed is not None and not await self._proceed(record):
                self._stop.set()

        asyncio.run_coroutine_threadsafe(tell(), self._loop).result()


async def train_with_pointers(
    links: Mapping[str, Link],
    recipe: Recipe,
    seed: int,
    state: Vector,
    observers: Sequence[Observer],
    replay: bool,
    proceed: Proceed | None = None,
) -> None:
    """Trains from a state (P,) through pointers.

    Safe to cancel: the training stops between two batches, and completed rounds have been told.

    Args:
        proceed: awaited after each round; None goes on at once.

    Raises:
        UsageError: pointers cannot train this recipe. FedsmsError: a node does not allow pointers,
        is lost, or failed; the error names it.
    """
    stop = threading.Event()
    workers = [PointerClient(node, link) for node, link in links.items()]
    try:
        training = PointerTraining(
            workers,
            recipe,
            seed,
            [_InTheLoop(observers, asyncio.get_running_loop(), proceed, stop)],
            replay,
            stop.is_set,
        )
        for worker in workers:
            await worker.open(recipe, node_seed(seed, str(worker.id), 0))
        with suppress(RunStopped):  # by `proceed`: nothing else lets this come through
            await _beside(training, state, stop, list(links.values()))
    finally:
        for worker in workers:
            worker.leave()


async def _beside(
    training: PointerTraining, state: Vector, stop: threading.Event, links: list[Link]
) -> None:
    running = asyncio.ensure_future(asyncio.to_thread(training.run, state))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({running}, timeout=STOP_SECONDS)
        for link in links:
            await link.close()
        with suppress(Exception):  # it was stopped: how, is no news
            await running
        raise
