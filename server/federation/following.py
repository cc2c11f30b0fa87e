"""The rounds of a run as an iterator, in a thread of the caller's or in an event loop."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from server.federation import background
from server.federation.events import Ended, Event, Notice, Progress
from server.federation.results import RoundResult
from server.federation.run import Run
from shared.errors import Interrupted

if TYPE_CHECKING:  # it loads torch
    from server.federation.pace import Pace

OnProgress = Callable[[Progress], object]
OnNotice = Callable[[Notice], object]
MakePace = Callable[[Callable[[Event], object], Callable[[Run], object]], "Pace"]


class _Following:
    """Where a follower stands.

    Attributes:
        run: the run; None until its folder is there.
        error: what it ended with; None where nothing was wrong.
    """

    def __init__(self, on_progress: OnProgress | None, on_notice: OnNotice | None) -> None:
        self.run: Run | None = None
        self.error: BaseException | None = None
        self.is_over = False
        self._on_progress = on_progress
        self._on_notice = on_notice

    def opened(self, run: Run) -> None:
        self.run = run

    def take(self, event: Event) -> RoundResult | None:
        """Acts on an event; gives the round, where it is one."""
        match event:
            case Progress():
                if self._on_progress is not None:
                    self._on_progress(event)
            case Notice():
                if self._on_notice is not None:
                    self._on_notice(event)
            case Ended(error):
                self.is_over, self.error = True, error
            case _:
                return RoundResult.of(event)
        return None


def _begin_or_go_on(pace: Pace) -> None:
    if pace.has_begun:
        pace.go_on()
    else:
        pace.begin()


class Rounds:
    """The rounds of a run, each when it is complete; the run begins with the first `next`.

    The next round begins when it is asked for. Breaking off, or closing, ends the run in good
    order: its folder is complete, and can be resumed. Callbacks are called in the thread that asks
    for rounds, and what they raise ends the run.

    Raises (of `next`):
        KeyboardInterrupt: Ctrl-C, from an Interrupted that says what was kept.
        FedsmsError: what the run ended with.
    """

    def __init__(
        self, make: MakePace, on_progress: OnProgress | None, on_notice: OnNotice | None
    ) -> None:
        self._following = _Following(on_progress, on_notice)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._pace = make(self._events.put, self._following.opened)

    @property
    def run(self) -> Run | None:
        """The run; None until its folder is there."""
        return self._following.run

    def __iter__(self) -> Rounds:
        return self

    def __next__(self) -> RoundResult:
        following = self._following
        if following.is_over:
            raise StopIteration
        try:
            _begin_or_go_on(self._pace)
            while not following.is_over:
                found = following.take(self._events.get())
                if found is not None:
                    return found
        except KeyboardInterrupt as stopped:
            self.close()
            if isinstance(following.error, Interrupted):
                raise stopped from following.error
            raise
        except BaseException:
            self.close()
            raise
        if following.error is not None:
            raise following.error
        raise StopIteration

    def close(self) -> None:
        """Ends the run, and waits until its folder is complete. Idempotent."""
        if self._following.is_over or not self._pace.has_begun:
            self._following.is_over = True
            return
        self._pace.stop()
        while not background.is_here():  # which would wait for itself
            event = self._events.get()
            if isinstance(event, Ended):
                self._following.take(event)
                break

    def __enter__(self) -> Rounds:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pace"):  # else its own beginning failed
            with suppress(Exception):
                self.close()


class AsyncRounds:
    """The same in an event loop: `async for round in federation.rounds(...)`.

    Breaking off ends the run soon after; `aclose` waits for that.
    """

    def __init__(
        self, make: MakePace, on_progress: OnProgress | None, on_notice: OnNotice | None
    ) -> None:
        self._following = _Following(on_progress, on_notice)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        loop, events = asyncio.get_running_loop(), self._events

        def deliver(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        self._pace = make(deliver, self._following.opened)

    @property
    def run(self) -> Run | None:
        """The run; None until its folder is there."""
        return self._following.run

    def __aiter__(self) -> AsyncRounds:
        return self

    async def __anext__(self) -> RoundResult:
        following = self._following
        if following.is_over:
            raise StopAsyncIteration
        try:
            _begin_or_go_on(self._pace)
            while not following.is_over:
                found = following.take(await self._events.get())
                if found is not None:
                    return found
        except asyncio.CancelledError as stopped:
            await self.aclose()
            if isinstance(following.error, Interrupted):
                raise stopped from following.error
            raise
        except BaseException:
            await self.aclose()
            raise
        if following.error is not None:
            raise following.error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the run, and waits until its folder is complete. Idempotent."""
        if self._following.is_over or not self._pace.has_begun:
            self._following.is_over = True
            return
        self._pace.stop()
        while not self._following.is_over:
            event = await self._events.get()
            if isinstance(event, Ended):
                self._following.take(event)

    async def __aenter__(self) -> AsyncRounds:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_pace") and not self._following.is_over:
            self._pace.stop()
