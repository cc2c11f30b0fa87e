"""The thread in which a process's federations work, whoever calls: a script, a thread, a notebook.

One event loop for all of them. It is another than the caller's, so that a cell of a notebook, whose
own loop is running, may wait for an answer; and it is one alone, since PySyft's objects belong to
the thread that uses them.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from server.runs.lasting_pool import LastingPool
from shared.errors import Interrupted

Result = TypeVar("Result")

END_SECONDS = 10.0
"""How long the process waits, at its end, for runs to put things away."""

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


class Task(Generic[Result]):
    """Work in the background, from now on. Its methods may be called from any thread.

    Attributes:
        outcome: what came of it, once it is over; Interrupted where it was cancelled and raised
            nothing else.
    """

    def __init__(self, work: Coroutine[Any, Any, Result]) -> None:
        self.outcome: Future[Result] = Future()
        self.outcome.set_running_or_notify_cancel()  # nobody but the work itself ends it
        self._loop = _running_loop()
        self._task: asyncio.Task[Result] | None = None
        self._loop.call_soon_threadsafe(self._begin, work)

    def call(self, function: Callable[[], object]) -> None:
        """Calls a function in the loop, soon."""
        self._loop.call_soon_threadsafe(function)

    def cancel(self) -> None:
        """Has the work stop and put things away."""
        self.call(lambda: self._task is not None and self._task.cancel())

    def _begin(self, work: Coroutine[Any, Any, Result]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Result]) -> None:
        if task.cancelled():
            self.outcome.set_exception(Interrupted("stopped by the user"))
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


def wait(work: Coroutine[Any, Any, Result]) -> Result:
    """Does work in the background, and waits for it; Ctrl-C stops both.

    Raises:
        KeyboardInterrupt: of the caller's thread; the work has ended by then.
    """
    task = Task(work)
    try:
        return task.outcome.result()
    except KeyboardInterrupt:
        task.cancel()
        with suppress(Exception):
            task.outcome.result()
        raise


async def wait_in_a_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """The same in an event loop of the caller's, where a cancellation stops both."""
    task = Task(work)
    outcome = asyncio.wrap_future(task.outcome)
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        task.cancel()
        with suppress(Exception):
            await asyncio.shield(outcome)
        raise


def is_here() -> bool:
    """True in the thread of the background itself, which must never wait for itself."""
    return threading.current_thread() is _thread


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _loop.set_default_executor(LastingPool(thread_name_prefix="federations"))
            _thread = threading.Thread(target=_loop.run_forever, name="federations", daemon=True)
            _thread.start()
        return _loop


def _end() -> None:
    """Stops what still goes on, and then the thread: a run that nobody broke off is interrupted."""
    with _lock:
        loop, thread = _loop, _thread
    if loop is None or thread is None or not thread.is_alive():
        return

    async def end_all() -> None:
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    with suppress(Exception):  # the process ends, whatever is left
        asyncio.run_coroutine_threadsafe(end_all(), loop).result(END_SECONDS)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(END_SECONDS)
    if not thread.is_alive():
        loop.close()


def _forget() -> None:
    """A forked child has the loop and not its thread: it makes its own."""
    global _loop, _thread, _lock
    _lock = threading.Lock()
    _loop = _thread = None


atexit.register(_end)
os.register_at_fork(after_in_child=_forget)
