"""Commands as processes of their own that need not import what they run.

Most of a short command's time is Python's and torch's start. `popen` takes what `subprocess.Popen`
takes, and has a process that is loaded already (preloaded.py) fork where that comes to the same: a
real child of this process, with its own id, streams, signals and exit code.
Only where FEDSMS_TESTS_FORK=yes asks for it, as scripts/test does; else each is started anew.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import dataclasses
import functools
import json
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.preloaded import LENGTH, PID, Order
from worker_node.training.forked import THREAD_LIMITS, ForkedTrainer

_ROOT = str(Path(__file__).resolve().parents[2])
ASKS = "FEDSMS_TESTS_FORK"
MODULES = {
    "server": True,
    "worker_node": False,  # a node forks its trainer before it loads PySyft
    "worker_node.training.trainer": False,
}
"""What can be forked, and whether from a process that has PySyft."""
AT_ANY_TIME = ("FEDSMS_", "SMS_DATA", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTEST_", "MLFLOW_")
"""Begin variables that are read when they are needed. Others may be read by Python's own start, or
by a library's: where one of those differs, the process is started anew."""
SET_BY_LIBRARIES = {"CRC32C_SW_MODE", "TORCHINDUCTOR_CACHE_DIR"}
"""By mlflow's and torch's, in the tests' own process once they are loaded; no start reads them."""
_OPTIONS = {"stdin", "stdout", "stderr", "text", "cwd", "env", "process_group", "pass_fds"}
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def popen(args: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """As subprocess.Popen, for MODULES."""
    if _can_be_forked(args, options):
        return _Forked(args, **options)
    return subprocess.Popen(args, **options)


async def start_trainer(
    *args: str, limit: int, **options: Any
) -> asyncio.subprocess.Process | ForkedTrainer:
    """As asyncio.create_subprocess_exec, for the trainer of a node in the tests' process."""
    if not _can_be_forked(args, options):
        return await asyncio.create_subprocess_exec(*args, limit=limit, **options)
    inbox, its_inbox = socket.socketpair()
    outbox, its_outbox = os.pipe()
    files = options["pass_fds"]
    order = _order(args, options["cwd"], options["env"], options["process_group"], files)
    try:
        pid = _preloaded().fork(order, [its_inbox.fileno(), its_outbox, 2, *files])
    finally:
        its_inbox.close()
        os.close(its_outbox)
    # where files come is known to who asks for it
    trainer = ForkedTrainer(pid, inbox, os.fdopen(outbox, "rb", 0), inbox)
    await trainer.attach(limit)
    return trainer


def _order(
    args: Sequence[str],
    folder: str | Path | None,
    environment: Mapping[str, str],
    group: int | None,
    files: Sequence[int],
) -> Order:
    return Order(
        module=args[2],
        arguments=list(args[3:]),
        folder=str(Path(folder or os.curdir).absolute()),
        environment=dict(environment),
        process_group=group,
        is_hooked=MODULES[args[2]],
        files=list(files),
    )


def _can_be_forked(args: Sequence[str], options: Mapping[str, Any]) -> bool:
    if os.environ.get(ASKS) != "yes" or sys.platform != "linux":
        return False
    is_ours = list(args[:2]) == [sys.executable, "-m"] and args[2] in MODULES
    is_known = "env" in options and options.keys() <= _OPTIONS
    return is_ours and is_known and _steers_no_start(options["env"])


def _steers_no_start(environment: Mapping[str, str]) -> bool:
    ours = _preloaded().environment
    differ = {name for name, _ in environment.items() ^ ours.items()} - SET_BY_LIBRARIES
    # as a node that began in this process has left it, and as the one that forks has it
    differ -= {name for name in THREAD_LIMITS if environment.get(name, "1") == "1"}
    if environment.get("PYTHONPATH", _ROOT) == _ROOT:  # which leads to no other code
        differ.discard("PYTHONPATH")
    steering = {name for name in differ if not name.startswith(AT_ANY_TIME)}
    # not asked for by a test, and so for every command from now on
    if came := sorted(n for n in steering if os.environ.get(n) == environment.get(n)):
        named = "name in tests/helpers/forked.py what is read by no start"
        warnings.warn(f"commands are started anew for {came}: {named}", stacklevel=2)
    return not steering


class _Preloaded:
    """The process that forks; started with this one's environment of now."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._lock = threading.Lock()
        pairs = [socket.socketpair() for _ in range(2)]
        self._orders = [ours for ours, _ in pairs]
        theirs = [one for _, one in pairs]
        numbers = [one.fileno() for one in theirs]
        one_thread = dict.fromkeys(THREAD_LIMITS, "1")  # a process with several cannot be forked
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.preloaded", *map(str, numbers)],
            pass_fds=numbers,
            cwd=_ROOT,
            env={**self.environment, "PYTHONPATH": _ROOT, **one_thread},
        )
        for one in theirs:
            one.close()
        atexit.register(self._end)

    def _end(self) -> int:
        for orders in self._orders:
            orders.close()
        return self._process.wait()

    def fork(self, order: Order, streams: Sequence[int]) -> int:
        """Gives the id of a new child of this process."""
        told = json.dumps(dataclasses.asdict(order)).encode()
        orders = self._orders[order.is_hooked]
        with self._lock:
            _take_in_orphans(True)
            try:
                socket.send_fds(orders, [LENGTH.pack(len(told))], streams)
                orders.sendall(told)
                answer = orders.recv(PID.size, socket.MSG_WAITALL)
            finally:
                _take_in_orphans(False)
        if not answer:
            raise RuntimeError(f"the process that forks ended with {self._end()}")
        (pid,) = PID.unpack(answer)
        return int(pid)


@functools.cache
def _preloaded() -> _Preloaded:
    return _Preloaded()


def _take_in_orphans(really: bool) -> None:
    """Whether what descends from this process becomes its child when its parent ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, int(really), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class _Forked(subprocess.Popen[Any]):
    """A Popen whose process is forked by another, and is this one's child all the same."""

    def _execute_child(self, args: Sequence[str], *told: Any) -> None:
        files, cwd, env = told[3:6]
        theirs_and_ours = told[9:15]
        order = _order(args, cwd, env, None if told[-1] == -1 else told[-1], files)
        theirs = told[9], told[12], told[14]
        streams = [number if one == -1 else one for number, one in enumerate(theirs)]
        streams += files
        try:
            self.pid = _preloaded().fork(order, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(*theirs_and_ours)  # type: ignore[attr-defined]
