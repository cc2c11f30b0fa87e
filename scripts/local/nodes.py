"""Data owners' nodes as processes of this machine, on free ports of the loopback interface.

For the demo, the benchmark and the tests. Whatever happens inside the context, the processes are
stopped, by their own process ids.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import NodeFailed

ROOT = Path(__file__).resolve().parents[2]
NO_SETTINGS = ("--federation", os.devnull)
"""Flags of the coordinator that keep a user's own ./federation.toml out."""
UNGUARDED = str(ROOT / "scripts" / "unguarded.toml")
"""Policy of a node whose flags name no other."""
START_SECONDS = 600.0
"""Without a sign of a node's; on a machine with other work, importing torch takes minutes."""
WAIT_SECONDS = 10.0
"""After which a user is told what is waited for."""
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
"""Nodes that start side by side: more would be in each other's way."""
STOP_SECONDS = 15.0
popen: Callable[..., subprocess.Popen[str]] = subprocess.Popen
"""What starts a node's process; the tests may have it forked, which costs them less."""


@dataclass
class LocalNode:
    """One node's process.

    url: where it listens; "" where it only dials out.
    log: the last lines it wrote on standard error.
    """

    id: str
    process: subprocess.Popen[str]
    url: str = ""
    log: list[str] = field(default_factory=list)

    @property
    def flag(self) -> str:
        """The node as `--node` takes it."""
        return f"{self.id}={self.url}" if self.url else self.id

    def stop(self) -> int:
        """Ends the process in order, or else at once; gives its exit code. Idempotent."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    stream.close()


@contextlib.contextmanager
def local_nodes(commands: Mapping[str, Sequence[str]]) -> Iterator[list[LocalNode]]:
    """Starts a node for each owner, some at once, and waits until all are ready.

    Args:
        commands: for each node id, the flags of `python -m worker_node serve` that say what it
            holds, for instance ("--data", "bob.tsv").

    Raises:
        NodeFailed: a node did not start; with what it said.
    """
    nodes: list[LocalNode] = []
    with _kills_interrupt():
        yield from _started(commands, nodes)


def _started(
    commands: Mapping[str, Sequence[str]], nodes: list[LocalNode]
) -> Iterator[list[LocalNode]]:
    try:
        for number, (node_id, flags) in enumerate(commands.items()):
            if number >= AT_ONCE:
                wait_until_ready(nodes[number - AT_ONCE], len(commands))
            with _signals_wait():
                nodes.append(start_node(node_id, flags))
        for node in nodes[-AT_ONCE:]:
            wait_until_ready(node, len(commands))
        yield nodes
    finally:
        for node in nodes:
            node.process.terminate()
        for node in nodes:
            node.stop()


@contextlib.contextmanager
def _kills_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: by an exception that stops the nodes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Signals wait for the end of the block: none falls between a start and its being known."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def start_node(node_id: str, flags: Sequence[str], port: int = 0) -> LocalNode:
    """Starts a node's process; `wait_until_ready` then fills in its address."""
    # Without the identity that the user may have in this folder, unless the flags name one.
    plain = () if "--identity" in flags else ("--insecure",)
    # its standard input ends with this process, however that ends
    at = () if "--dial" in flags else ("--port", str(port))
    listen = (*at, "--json", "--with-stdin", *plain)
    unguarded = ("--policy", UNGUARDED, "--audit-log", "off")  # flags given later count
    command = ("-m", "worker_node", "serve", "--id", node_id, *listen, *unguarded, *flags)
    process = popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # Ctrl-C is for whoever started the nodes, who stops them in order.
        process_group=0,
        env=clean_environment(),
    )
    node = LocalNode(node_id, process)
    threading.Thread(target=_keep_log, args=(node,), daemon=True).start()
    return node


def clean_environment() -> dict[str, str]:
    """Ours, without what the user set for federations of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FEDSMS_")}


def _keep_log(node: LocalNode) -> None:
    assert node.process.stderr is not None
    with node.process.stderr:
        for line in node.process.stderr:
            node.log.append(line.rstrip())
            del node.log[:-200]


def wait_until_ready(node: LocalNode, of: int = 1) -> None:
    """Reads the node's address from its output; says every ten seconds what it waits for.

    Args:
        of: how many nodes are started in all, for who reads along.

    Raises:
        NodeFailed: it gives none.
    """
    lines: queue.Queue[str] = queue.Queue()
    assert node.process.stdout is not None
    stdout = node.process.stdout
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    line = _awaited(node, lines, of)
    if not line:
        node.process.wait()
        raise NodeFailed(f"node {node.id} did not start", "\n".join(node.log[-20:]))
    node.url = json.loads(line)["url"] or ""


def _awaited(node: LocalNode, lines: queue.Queue[str], of: int) -> str:
    began = time.monotonic()
    while True:
        try:
            return lines.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            waited = time.monotonic() - began
        if waited > START_SECONDS:
            cause = "\n".join(node.log[-20:])
            raise NodeFailed(f"node {node.id} was not ready in {START_SECONDS:g} s", cause)
        others = f", one of {of}," if of > 1 else ""
        print(
            f"Still starting after {waited:.0f} s: node {node.id}{others} loads torch and its "
            "messages ...",
            file=sys.stderr,
            flush=True,
        )
