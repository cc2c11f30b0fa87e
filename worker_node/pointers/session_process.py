"""The node's handles on the process of a pointer session, and on the one that makes them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import FedsmsError, NodeFailed, PolicyRefused
from shared.wire.frames import MalformedFrame
from worker_node.pointers.channel import Said, pack, read, unpack, write
from worker_node.pointers.rows import TaggedTensor, pack_rows, places_for

log = logging.getLogger("fedsms.node")

START_SECONDS = 120.0
"""How long the first process may take, for which torch and PySyft are imported."""
END_SECONDS = 5.0
_READ_AHEAD = 2**22
_EXIT_CODE_BYTES = 4

Take = Callable[[int], None]
"""Pays bits of what may be told of the rows; raises PolicyRefused."""


class Told(NamedTuple):
    """What the process answered.

    is_counted: it may follow from the rows, and what is told of them is counted.
    error: in place of an answer, to a SUMMARISE.
    """

    is_counted: bool
    answer: Any
    error: FedsmsError | None = None


class SessionEnded(NodeFailed):
    """The process of a session is gone, and all that it held."""


class _ForkServer:
    """The process that makes the others; one for this process, ended with it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Idempotent; starts another one where it ended."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # this file's own command
                [sys.executable, "-m", "worker_node.pointers.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env=dict(os.environ),
                pass_fds=(theirs.fileno(),),
                # Ctrl-C at the owner's terminal is for the node
                process_group=0,
            )
        self._orders = ours

    def order(self, line: socket.socket, end: socket.socket) -> None:
        """Has a process made that serves `line`, and tells its end on `end`."""
        self.start()
        assert self._orders is not None
        socket.send_fds(self._orders, [b"+"], [line.fileno(), end.fileno()])

    def close(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._process is not None:
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._orders = None


@lru_cache(maxsize=1)
def _fork_server() -> _ForkServer:
    server = _ForkServer()
    atexit.register(server.close)
    return server


def prepare() -> None:
    """Has torch and PySyft imported for the first session before it comes."""
    if sys.platform != "linux":
        log.warning("this system does not limit the memory of pointer operations")
    _fork_server().start()


def fork_server_pid() -> int | None:
    """The process whose children are the sessions' processes; None before there is one."""
    return _fork_server().pid


class SessionProcess:
    """One session's process. For one task at a time."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        end: socket.socket,
        rows: bytes,
    ) -> None:
        self._rows = rows
        self._reader = reader
        self._writer = writer
        self._end = end
        self._over: SessionEnded | None = None
        self._learned: list[tuple[int, list[float]]] = []

    @classmethod
    async def start(cls, settings: dict[str, Any], rows: Sequence[TaggedTensor]) -> SessionProcess:
        """A process that has opened its session.

        Args:
            settings: seed, threads, gradients, megabytes, seconds, and what a sealed session is
                told.
            rows: the owner's. Where what is told of them is counted, they go to the process when
                they are named, and not before.

        Raises NodeFailed where it does not start.
        """
        ours, line = socket.socketpair()
        end, ending = socket.socketpair()
        with line, ending:
            _fork_server().order(line, ending)
        end.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=_READ_AHEAD)
        process = cls(reader, writer, end, pack(pack_rows(rows)))
        first = rows if settings["gradients"] else places_for(rows)
        try:
            async with asyncio.timeout(START_SECONDS):
                write(writer, Said.OPEN, pack({**settings, "rows": pack_rows(first)}))
                await process._answer(_take_nothing)
        except TimeoutError:
            await process.close()
            raise NodeFailed("the process of pointer operations did not start") from None
        except BaseException:
            await process.close()
            raise
        return process

    async def post(self, payload: bytes | memoryview) -> None:
        """Hands over a frame whose answer nobody waits for; what is wrong with it is told later."""
        if self._over is None:
            with contextlib.suppress(ConnectionError):
                write(self._writer, Said.POST, payload)
                await self._writer.drain()

    async def ask(self, said: Said, payload: bytes | memoryview, take: Take) -> Told:
        """What it answers. One that was cancelled has lost its place: close the process then.

        Raises:
            SessionEnded: it ended, before or now. MalformedFrame: the frame, or one before it.
        """
        if self._over is not None:
            raise self._over
        with contextlib.suppress(ConnectionError):  # reading tells
            write(self._writer, said, payload)
        return await self._answer(take)

    async def _answer(self, take: Take) -> Told:
        try:
            while True:
                said, payload = await read(self._reader)
                if said is Said.TAKE:
                    self._pay(unpack(payload), take)
                elif said is Said.LEARNED:
                    self._learned.append(unpack(payload))
                elif said is Said.NAMED:
                    write(self._writer, Said.ROWS, self._rows)
                else:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            self._over = SessionEnded(*await self._cause_of_death())
            raise self._over from None
        if said is Said.MALFORMED:
            raise MalformedFrame(payload.decode())
        if said is Said.FAILED:
            is_counted, is_refusal, *words = unpack(payload)
            return Told(is_counted, None, (PolicyRefused if is_refusal else NodeFailed)(*words))
        return Told(*unpack(payload))

    def take_learned(self) -> list[tuple[int, list[float]]]:
        """Scores of the owner's messages, with the place of the first, since it was asked last."""
        learned, self._learned = self._learned, []
        return learned

    def _pay(self, bits: int, take: Take) -> None:
        try:
            take(bits)
        except FedsmsError as error:
            words = (isinstance(error, PolicyRefused), error.fact, error.cause, error.next_step)
            write(self._writer, Said.REFUSED, pack(words))
        else:
            write(self._writer, Said.GRANTED)

    async def _cause_of_death(self) -> tuple[str, str, str]:
        data = b""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                data = await asyncio.get_running_loop().sock_recv(self._end, _EXIT_CODE_BYTES)
        code = int.from_bytes(data, "little", signed=True)
        if code == -signal.SIGALRM:
            cause = "the operations of a frame took longer than the owner allows"
        elif code < 0:
            cause = f"an operation ended it by signal {-code}"
        else:
            cause = "it ran out of memory, or ended for another reason"
        return "the process of this session's operations ended", cause, "Open another session."

    async def close(self) -> None:
        """Ends the process, whatever it does. Idempotent."""
        self._over = self._over or SessionEnded("the session was closed")
        self._end.close()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def _take_nothing(bits: int) -> None:
    raise PolicyRefused("a session that is being opened tells nothing of rows")
