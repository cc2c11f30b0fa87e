"""A process that has loaded what commands need, and forks one for each order.

    python -m tests.helpers.preloaded FD

An order comes over the socket FD, in JSON after its length, with the new process's three streams;
its process id goes back. The process is an orphan, and so becomes a child of whoever took those in:
of the test's own process (forked.py). It runs what `python -m MODULE ARGUMENTS` would, and ends as
that does. This process ends with the test's.
"""

from __future__ import annotations

import atexit
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
from dataclasses import dataclass
from typing import Any

LENGTH = struct.Struct("<I")
PID = struct.Struct("<i")
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
)
"""What commands load, of ours and of others; nothing that loads PySyft, since a node forks its
trainer before it does."""


@dataclass(frozen=True)
class Order:
    """One process: `python -m module arguments` in a folder, with an environment."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    process_group: int | None = None


def main() -> None:
    order = _serve(socket.socket(fileno=int(sys.argv[1])))
    if order is not None:  # in a fork
        try:
            runpy.run_module(order.module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            _end(ended)
            raise


def _serve(orders: socket.socket) -> Order | None:
    """Until the test's process ends; then None. Comes back in each fork with its order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the test's process has it too, and ends this one
    for name in LOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # the pages of what was imported stay shared
    while received := _received(orders):
        order, streams = received
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
    head, streams, _, _ = socket.recv_fds(orders, LENGTH.size, 3)
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
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
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
