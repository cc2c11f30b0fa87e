"""A process that has loaded what commands need, and forks one for each order.

    python -m tests.helpers.preloaded FD HOOKED

An order comes over the socket FD, in JSON after its length, with the new process's three streams
and further files; its process id goes back. The process is an orphan, and so becomes a child of
whoever took those in: of the test's own process (forked.py). It runs what `python -m MODULE
ARGUMENTS` would, and ends as that does. A fork of this process takes orders over the socket HOOKED;
with the first it loads PySyft, and those that it forks have it. Both end with the test's process.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib
import io
import json
import os
import runpy
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("<I")
PID = struct.Struct("<i")
_MOST_FILES = 8
LOADED = (
    *("torch", "numpy.ma", "regex", "mmh3", "safetensors.torch", "http.server", "rich.table"),
    *("rich.progress", "rich.live", "xml.etree.ElementTree"),
    *("server.cli.commands", "server.cli.train", "server.cli.predict", "server.cli.nodes"),
    *("server.display.status_table", "server.nodes.status", "server.federation.federation"),
    *("shared.secure_aggregation.trust", "shared.privacy.accountant", "shared.passport.signing"),
    *("shared.wire.listening", "shared.wire.dial_failures", "shared.trained_model.saved_model"),
    *("worker_node.cli.commands", "worker_node.cli.serve", "worker_node.cli.check"),
    *("worker_node.data.structured", "worker_node.guarding.set_up", "worker_node.audit.log"),
    *("worker_node.membership.admission", "worker_node.membership.enrolment"),
    *("worker_node.secure_aggregation.set_up", "worker_node.secure_aggregation.owner"),
    *("worker_node.secure_aggregation.sums", "worker_node.sessions.departures"),
    *("worker_node.pointers.session_process", "worker_node.data.near_held_out"),
    *("worker_node.training.trainer_process", "worker_node.training.known_trainings"),
    *("worker_node.training.alone", "worker_node.training.private_requests", "websocket"),
    *("shared.pointers.commands", "shared.pointers.sealed_sessions", "wsgiref.simple_server"),
)
"""What commands load, of ours and of others; nothing that loads PySyft, since a node forks its
trainer before it does."""
HOOKED = (
    *("server.pointers.api", "server.encrypted.sealed", "worker_node.pointers.child"),
    *("server.nodes.client", "server.nodes.dial", "server.runs.training_run"),
    *("server.rounds.coordinator", "server.rounds.comparing", "server.rounds.handing_out"),
    *("server.rounds.private_rounds", "server.rounds.secure_rounds", "server.rounds.plain_rounds"),
    *("server.federation.async_federation", "server.federation.pace", "server.cli.interrupts"),
    *("server.runs.settings_file", "server.runs.report", "server.aggregation.robust"),
)
"""What loads PySyft, and is loaded by a coordinator or by sessions of pointers."""


@dataclass(frozen=True)
class Order:
    """One process: `python -m module arguments` in a folder, with an environment.

    is_hooked: PySyft is loaded. files: descriptors that it has beside its streams.
    """

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    process_group: int | None = None
    is_hooked: bool = False
    files: Sequence[int] = ()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test's process has it too, and ends this one
    plain, hooked = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    for name in LOADED:
        importlib.import_module(name)
    _share_pages()
    other = os.fork()
    if other:
        hooked.close()
        order = _serve(plain)
    else:
        plain.close()
        order = _serve(hooked, _hook)
    if other and order is None:
        os.waitpid(other, 0)
    if order is not None:  # in a fork
        try:
            runpy.run_module(order.module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            _end(ended)
            raise


@functools.cache
def _hook() -> None:
    for name in HOOKED:
        importlib.import_module(name)
    importlib.import_module("shared.pysyft").make_hook()
    _share_pages()


def _share_pages() -> None:
    """What was imported stays shared: no collection writes to it."""
    gc.collect()
    gc.freeze()


def _serve(orders: socket.socket, load: Callable[[], None] = lambda: None) -> Order | None:
    """Until the test's process ends; then None. Comes back in each fork with its order."""
    while received := _received(orders):
        order, streams = received
        load()
        pid = _orphan()
        if not pid:
            orders.close()
            _become(order, streams)
            return order
        for one in streams:
            os.close(one)
        orders.sendall(PID.pack(pid))
    return None


def _received(orders: socket.socket) -> tuple[Order, list[int]] | None:
    head, streams, _, _ = socket.recv_fds(orders, LENGTH.size, _MOST_FILES)
    if not head:
        return None
    with orders.makefile("rb", buffering=0) as rest:
        told = b""
        (length,) = LENGTH.unpack(head)
        while len(told) < length:
            told += rest.read(length - len(told))
    return Order(**json.loads(told)), streams


def _orphan() -> int:
    """Forks a process whose parent has ended; gives its id, and 0 in that process."""
    reading, writing = os.pipe()
    between = os.fork()
    if not between:
        pid = os.fork()
        if pid:
            os.write(writing, PID.pack(pid))
            os._exit(0)
        os.close(reading)
        os.close(writing)
        return 0
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        (pid,) = PID.unpack(told.read(PID.size))
    os.waitpid(between, 0)  # from now on somebody else's
    return int(pid)


def _become(order: Order, streams: list[int]) -> None:
    """What a start of Python would have done."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.process_group is not None:
        os.setpgid(0, order.process_group)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    numbers = (0, 1, 2, *order.files)
    above = max(*numbers, *streams) + 1  # out of each other's way
    moved = [fcntl.fcntl(stream, fcntl.F_DUPFD, above) for stream in streams]
    for stream in streams:
        os.close(stream)
    for number, stream in zip(numbers, moved, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    _open_streams()
    sys.path[0] = order.folder
    sys.argv = [order.module, *order.arguments]  # runpy puts the file's name in the first place
    sys.orig_argv = [sys.executable, "-m", order.module, *order.arguments]


def _end(ended: SystemExit) -> None:
    """What Python does at its end, but for taking apart what the processes share."""
    if ended.code is None or isinstance(ended.code, int):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            return
        os._exit((ended.code or 0) & 0xFF)


def _open_streams() -> None:
    def text(old: Any, mode: str, **more: Any) -> io.TextIOWrapper:
        raw = os.fdopen(old.fileno(), mode, closefd=False)
        return io.TextIOWrapper(raw, encoding=old.encoding, errors=old.errors, **more)

    sys.stdin = sys.__stdin__ = text(sys.stdin, "rb")  # type: ignore[misc]
    out = text(sys.stdout, "wb", newline="\n", line_buffering=os.isatty(1))
    sys.stdout = sys.__stdout__ = out  # type: ignore[misc]
    err = text(sys.stderr, "wb", newline="\n", line_buffering=True)
    sys.stderr = sys.__stderr__ = err  # type: ignore[misc]


if __name__ == "__main__":
    main()
