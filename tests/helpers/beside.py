"""An event loop in a thread, for tests whose own thread a browser has."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

Given = TypeVar("Given")
PATIENCE_SECONDS = 60.0


class Beside:
    """Where coroutines run meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, Given]) -> Future[Given]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def do(self, work: Coroutine[Any, Any, Given]) -> Given:
        """What it gives, once it has."""
        return self.begin(work).result(PATIENCE_SECONDS)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()


@contextmanager
def beside() -> Iterator[Beside]:
    made = Beside()
    try:
        yield made
    finally:
        made.close()
