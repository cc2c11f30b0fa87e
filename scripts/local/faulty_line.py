"""A TCP proxy between a coordinator and a node that does to the line what networks do.

For tests and scripts/chaos.py. It runs in a thread of its own, so it works beside anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PIECE_BYTES = 1400
LOST_SECONDS = 0.6
"""Twice a round trip of 300 ms, after which TCP sends again."""


class Line:
    """One proxied address, and what is wrong with it. Set an attribute to make it so.

    Attributes:
        url: where the coordinator dials.
        bytes_a_second: how fast each direction is; 0 sets no limit.
        delay: seconds that every piece takes.
        loss: share of the pieces that take another LOST_SECONDS, as TCP sends again what was lost.
        silent: nothing gets through any more, and nobody is told (a partition, a half-open line).
        refusing: new connections are hung up on.
        cut_after: the connection breaks after so many more bytes from the coordinator; 0 never.
        cut_back_after: the same for bytes from the node.
        cuts: how often it broke so.
        dialled: connections so far.
    """

    def __init__(self, target: str) -> None:
        self.target(target)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.bytes_a_second = 0
        self.delay = 0.0
        self.loss = 0.0
        self._random = random.Random(0)  # noqa: S311 - faults that can be repeated
        self.silent = False
        self.refusing = False
        self.cut_after = 0
        self.cut_back_after = 0
        self.cuts = 0
        self.dialled = 0

    def target(self, url: str) -> None:
        """Where new connections go from now on."""
        parts = urlsplit(url)
        self._scheme, self._target = parts.scheme, (parts.hostname or "", parts.port or 0)

    def cut(self) -> None:
        """Breaks all connections at once, with a reset."""
        self._loop.call_soon_threadsafe(self._abort_all)

    def _abort_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0, limit=2**16)
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"{self._scheme}://{host}:{port}"
        ready()
        await stop.wait()
        server.close()
        self._abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        if self.refusing:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target, limit=2**16)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._open |= ends
        for source, sink, name in ((reader, back, "cut_after"), (there, writer, "cut_back_after")):
            task = asyncio.create_task(self._pass_on(source, sink, name, ends))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        counter: str,
        ends: set[asyncio.StreamWriter],
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(PIECE_BYTES):
                    await self._hold_up(len(data))
                    if self._reaches(counter, len(data)):
                        self.cuts += 1
                        break
                    sink.write(data)
                    await sink.drain()
        finally:
            for end in ends:
                end.transport.abort()
            self._open -= ends

    async def _hold_up(self, size: int) -> None:
        seconds = self.delay + (size / self.bytes_a_second if self.bytes_a_second else 0)
        if self._random.random() < self.loss:
            seconds += LOST_SECONDS
        if seconds:
            await asyncio.sleep(seconds)
        while self.silent:  # noqa: ASYNC110 - it is another thread that ends the silence
            await asyncio.sleep(0.02)

    def _reaches(self, counter: str, size: int) -> bool:
        """True where these bytes are the last straw; then the fault is over."""
        left: int = getattr(self, counter)
        if not left:
            return False
        setattr(self, counter, max(0, left - size))
        return left <= size


@contextmanager
def line_to(url: str) -> Iterator[Line]:
    """A line to a node, faultless at first."""
    line = Line(url)
    stop = asyncio.Event()
    ready = threading.Event()
    work = line.serve(stop, ready.set)
    thread = threading.Thread(target=line._loop.run_until_complete, args=(work,))
    thread.start()
    ready.wait()
    try:
        yield line
    finally:
        line._loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        line._loop.close()
