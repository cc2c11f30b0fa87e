"""The node's first trainer, forked from the node while that has plain torch and nothing else.

Importing torch is most of a node's start, and node and trainer both need it. So the node imports it
once, before PySyft hooks it and before anything of the owner's is read (key, policy, messages), and
forks: the trainer begins where an import would have taken a second, its memory is shared with the
node's until one of them writes to it, and there is no key in it. A trainer that takes the place of
one that ended is started anew (trainer_process.py), for by then the node is hooked.

Python's collector of cycles has nothing to find while modules are loaded, and would look through
all of them again and again, a fifth of the time: it waits until the node is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import BinaryIO, NoReturn

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # of numpy too
TITLE = "fedsms-trainer"
"""What `ps` and `top` call it, at most 15 bytes; its command line is that of the node."""
_KEPT = 4  # standard input, output and error, and where files come
_TASKS, _FILES = Path("/proc/self/task"), Path("/proc/self/fd")
_TITLE_FILE = Path("/proc/self/comm")


class ForkedTrainer:
    """A trainer that has begun; what TrainerProcess uses of `asyncio.subprocess.Process`.

    Args:
        pid: of the child.
        inbox, outbox: the node's ends of its standard input and output.
        files: over which it is given files.
    """

    def __init__(
        self, pid: int, inbox: socket.socket, outbox: BinaryIO, files: socket.socket
    ) -> None:
        self.pid = pid
        self.files = files
        self.returncode: int | None = None
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self._ends = inbox, outbox
        self._ended: asyncio.Future[None] | None = None

    async def attach(self, limit: int) -> None:
        """Has the running loop read it, and hear of its end. Once.

        Args: limit: bytes to read ahead.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        inbox, outbox = self._ends
        _, self.stdin = await asyncio.open_connection(sock=inbox)
        self.stdout = reader = asyncio.StreamReader(limit)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), outbox)
        threading.Thread(target=self._await_end, args=(loop, self._ended), daemon=True).start()

    def _await_end(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        _, status = os.waitpid(self.pid, 0)
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._end, os.waitstatus_to_exitcode(status), ended)

    def _end(self, code: int, ended: asyncio.Future[None]) -> None:
        self.returncode = code
        if not ended.done():
            ended.set_result(None)

    async def wait(self) -> int:
        """Its exit code, once it has ended; below 0 for a signal."""
        assert self._ended is not None, "attach comes first"
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """Raises ProcessLookupError where it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal.SIGKILL)


def fork_trainer(threads: int) -> ForkedTrainer | None:
    """Imports torch, and forks a trainer that waits to be attached to.

    To be called first, from the only thread. The trainer ends when this process does.

    Args:
        threads: torch threads of the trainer.

    Returns:
        None where forking is not to be had or not safe, so that the trainer is started as any later
        one is: on another system than Linux, in a process with several threads or with PySyft.
    """
    gc.disable()
    os.environ.update(dict.fromkeys(THREAD_LIMITS, str(threads)))
    for needed in ("torch", "shared.model.recipe"):  # by both, before either goes on alone
        importlib.import_module(needed)

    if sys.platform != "linux" or "syft" in sys.modules or _threads_here() != 1:
        return None
    inbox, its_inbox = socket.socketpair()
    outbox, its_outbox = os.pipe()
    files, its_files = socket.socketpair()
    gc.freeze()  # pages stay shared that no collection writes to
    pid = os.fork()
    if not pid:
        _become_trainer(its_inbox.detach(), its_outbox, its_files.detach(), threads)
    its_inbox.close()
    its_files.close()
    os.close(its_outbox)
    return ForkedTrainer(pid, inbox, os.fdopen(outbox, "rb", 0), files)


def collect_again() -> None:
    """Ends what `fork_trainer` began: cycles are collected from now on, but for what was loaded."""
    gc.freeze()
    gc.enable()


def _threads_here() -> int:
    """0 where the system does not say."""
    return len(list(_TASKS.iterdir())) if _TASKS.is_dir() and _FILES.is_dir() else 0


def _become_trainer(inbox: int, outbox: int, files: int, threads: int) -> NoReturn:
    """What an exec would have done, and the trainer's own main."""
    try:
        os.setpgid(0, 0)  # Ctrl-C at the owner's terminal is for the node
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(inbox, 0)
        os.dup2(outbox, 1)
        os.dup2(files, _KEPT - 1)
        for file in [int(one.name) for one in _FILES.iterdir()]:
            if file >= _KEPT:
                with contextlib.suppress(OSError):  # the listing itself
                    os.close(file)
        with contextlib.suppress(OSError):  # a sandbox may not have it
            _TITLE_FILE.write_text(TITLE, encoding="ascii")
        gc.enable()
        from worker_node.training.trainer import run

        run(threads, _KEPT - 1)
    except BaseException:  # noqa: BLE001  # whatever it is, it must not go on as a second node
        sys.excepthook(*sys.exc_info())
    os._exit(1)
