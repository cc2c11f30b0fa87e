"""The node's handle on its trainer: starts it, speaks to it, restarts it when it died.

One request at a time; others wait for their turn in the order of their arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from shared.errors import NodeFailed
from worker_node.data.shard import Shard
from worker_node.training import KEPT_BYTES, pipes
from worker_node.training.forked import THREAD_LIMITS, ForkedTrainer
from worker_node.training.handing_over import load_requests

START_SECONDS = 300.0
"""How long a new trainer may take to import torch and read the rows; then it counts as broken."""
STOP_SECONDS = 5.0
"""How long a trainer may take to stop between two batches; then it is killed."""
COULD_NOT = "the training process of the node could not do it"
_PIPE_BYTES = 2**22  # read-ahead of asyncio; its default of 64 KiB makes a model crawl

OnEvent = Callable[[dict[str, Any]], None]
_Process = asyncio.subprocess.Process | ForkedTrainer
start_process: Callable[..., Awaitable[_Process]] = asyncio.create_subprocess_exec
"""What starts a trainer anew; the tests may have it forked, which costs them less."""


class TrainerFailed(NodeFailed):
    """What was asked for cannot be done with the numbers that were sent and the owner's rows."""


class TrainerProcess:
    """A trainer child process that holds one owner's shard.

    Args:
        shard: the owner's rows; handed to every process that is started.
        threads: torch threads of the trainer.
        forked: the first process, where it has begun already; None starts one when it is needed.
        kept_bytes: of encoded rows that it keeps of each part of the shard; 0 keeps none.
    """

    def __init__(
        self,
        shard: Shard,
        threads: int = 1,
        forked: ForkedTrainer | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._shard = shard
        self._threads = threads
        self._kept_bytes = kept_bytes
        self._turn = asyncio.Lock()
        self._forked = forked
        self._process: _Process | None = None
        self._files: socket.socket | None = None
        self._ending: asyncio.Future[None] | None = None

    @property
    def condition(self) -> Literal["running", "stopped", "died"]:
        """A stopped one was ended on purpose, and starts again with the next request."""
        if self._process is None:
            return "stopped"
        return "running" if self._process.returncode is None else "died"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Starts the process, so that the first round does not wait for it."""
        async with self._turn:
            await self._running()

    async def call(
        self,
        request: dict[str, Any],
        on_turn: Callable[[], None],
        on_progress: OnEvent,
    ) -> dict[str, Any]:
        """One request, answered; see Trainer for what can be asked.

        Safe to cancel: the trainer then stops between two batches, or is killed.

        Args:
            on_turn: called when the requests before this one are done.
            on_progress: called with each progress event.

        Raises:
            TrainerFailed: numbers and rows do not allow it. NodeFailed: the trainer could not do
                it for another reason, or died.
        """
        async with self._turn:
            on_turn()
            process = await self._running()
            try:
                answer = await self._exchange(process, request, on_progress)
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise NodeFailed(
                    "the training process of the node died", await self._cause_of_death(process)
                ) from error
            except BaseException:
                # A read that was cut off may have lost part of a message: who knows what is next?
                await self._end(process)
                raise
        if answer["event"] == "failed":
            failed = TrainerFailed if answer["by_numbers"] else NodeFailed
            raise failed(COULD_NOT, answer["cause"])
        return answer

    async def close(self) -> None:
        """Ends the process, at once. Idempotent."""
        if self._process is not None:
            await self._kill(self._process)

    async def _running(self) -> _Process:
        if self._ending is not None:
            await asyncio.shield(self._ending)
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = process = await self._begun()
        try:
            async with asyncio.timeout(START_SECONDS):
                await pipes.read_async(_stdout(process))
                for request in load_requests(self._shard, self._files, self._kept_bytes):
                    await self._exchange(process, request, _ignore)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            cause = await self._cause_of_death(process)
            raise NodeFailed("the training process of the node did not start", cause) from error
        except BaseException:
            await self._end(process)
            raise
        return process

    async def _begun(self) -> _Process:
        """The one that was forked, and then new ones."""
        forked, self._forked = self._forked, None
        if forked is not None:
            await forked.attach(_PIPE_BYTES)
            self._files = forked.files
            return forked
        self._files, its_files = _pair_for_files()
        given = [] if its_files is None else [its_files.fileno()]
        try:
            return await start_process(
                *(sys.executable, "-m", "worker_node.training.trainer"),
                *map(str, (self._threads, *given)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                limit=_PIPE_BYTES,
                env={**os.environ, **dict.fromkeys(THREAD_LIMITS, str(self._threads))},
                # Ctrl-C at the owner's terminal is for the node, which ends its trainer in order.
                process_group=0,
                pass_fds=given,
            )
        finally:
            if its_files is not None:
                its_files.close()

    async def _exchange(
        self, process: _Process, request: dict[str, Any], on_progress: OnEvent
    ) -> dict[str, Any]:
        assert process.stdin is not None
        process.stdin.write(pipes.pack(request))
        await process.stdin.drain()
        while (answer := await pipes.read_async(_stdout(process)))["event"] == "progress":
            on_progress(answer)
        return answer

    async def _end(self, process: _Process) -> None:
        """Ends a process that cannot be spoken to any more, also where this is cancelled again."""
        self._ending = asyncio.ensure_future(self._kill_on_purpose(process))
        await asyncio.shield(self._ending)

    async def _kill_on_purpose(self, process: _Process) -> None:
        await self._kill(process)
        self._process = None

    async def _kill(self, process: _Process) -> None:
        if self._files is not None:
            self._files.close()
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _cause_of_death(self, process: _Process) -> str:
        await self._kill(process)
        code = process.returncode or 0
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"


def _pair_for_files() -> tuple[socket.socket | None, socket.socket | None]:
    """Both ends of the way for files; none where the system has no files in memory."""
    return socket.socketpair() if hasattr(os, "memfd_create") else (None, None)


def _stdout(process: _Process) -> asyncio.StreamReader:
    assert process.stdout is not None
    return process.stdout


def _ignore(_: dict[str, Any]) -> None:
    """A request without progress."""
