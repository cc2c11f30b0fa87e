"""Feeds mutated frames to a node's decoder and sessions, and says what came of it.

    python scripts/fuzz.py --inputs 100000
    python scripts/fuzz.py --inputs 2000 --seed 7 --pointers

The frames begin as what a coordinator really sends. They are cut, joined, repeated and changed, and
given to the product's own Session over a connection in memory; the trainer is one that answers at
once. A frame that is answered in words which nothing was answered in before has got somewhere new:
it is kept, and changed further. An unexpected error in a session or in a task, a request without an
answer, or memory that grows by more than --most-growth ends it with exit code 1, and the input is
printed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.fuzzing.frames import Corpus, frames_of_a_coordinator, opening
from shared.cli import run
from shared.errors import FedsmsError
from shared.wire.frames import Kind, frame, new_request_id, pack_map, parse_frame
from shared.wire.handshake import Greeting
from worker_node.data.shard import Message, Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.pace import Pace
from worker_node.guarding.policy import Policy
from worker_node.node import DataOwnerNode
from worker_node.sessions.session import Session

FRAMES_A_SESSION = 64
WARM_UP = 2000


class Trainer:
    """Answers at once, as the training process would."""

    async def call(self, request: dict[str, Any], on_turn: Any, on_progress: Any) -> dict[str, Any]:
        on_turn()
        if request["op"] == "score":
            return {"ham": {1: 1}, "spam": {2: 1}, "loss_sum": 1.0, "seconds": 0.0}
        on_progress({"done": 1, "total": 1, "loss": 0.5})
        trained = np.frombuffer(request["state"], dtype="<u4") ^ 1
        told = {"rows": 2, "batches": 1, "loss": 0.5, "seconds": 0.0}
        return {"state": trained.tobytes(), **told}


class Line:
    """A connection in memory: gives the frames it was made with, then ends."""

    remote_address = ("127.0.0.1", 1)
    arrivals = 0

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = iter(frames)
        self.taken = 0
        self.sent: list[bytes] = []
        self.closed: int | None = None
        self.transport = SimpleNamespace(get_extra_info=lambda _: None)

    async def recv(self) -> bytes:
        self.taken += 1
        return next(self._frames)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for data in self._frames:
            await asyncio.sleep(0)
            self.taken += 1
            yield data
        for _ in range(20):  # work under way comes to its end
            await asyncio.sleep(0)

    async def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def ping(self) -> None:
        """Taken, as everything is."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = code


class Unexpected(logging.Handler):
    """Remembers what a session, or the event loop, logs as an error: each is a bug."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def watching() -> Iterator[Unexpected]:
    """What is logged as an error meanwhile; nobody else is told of it."""
    unexpected = Unexpected()
    loggers = [logging.getLogger(name) for name in ("fedsms.node", "asyncio")]
    for logger in loggers:
        logger.addHandler(unexpected)
        logger.propagate = False
    try:
        yield unexpected
    finally:
        for logger in loggers:
            logger.removeHandler(unexpected)
            logger.propagate = True


@dataclass
class Result:
    """What the inputs led to.

    kinds: of answers, by their words. before, after: bytes of memory, after the warm-up and in
    the end.
    """

    inputs: int = 0
    sessions: int = 0
    answers: int = 0
    refused: int = 0
    ended: int = 0
    kinds: int = 0
    seconds: float = 0.0
    before: int = 0
    after: int = 0

    @property
    def growth(self) -> int:
        return self.after - self.before


async def fuzz(inputs: int, seed: int, pointers: bool) -> Result:
    """Raises FedsmsError where a session broke."""
    rng = random.Random(seed)  # noqa: S311  # inputs that a seed gives again
    corpus = Corpus(frames_of_a_coordinator(pointers))
    rows = (Message(0, "see you"), Message(1, "win a prize"))
    modes: Any = ("train", "evaluate", *(("pointers",) if pointers else ()))
    days = {"rounds": 10**9, "evaluations": 10**9}
    policy = Policy(modes=modes, day=days, pointers={"numbers": 10**9})  # type: ignore[arg-type]
    guard = Guard(policy, pace=Pace(burst=1e12))
    node = DataOwnerNode("bob", Shard(rows, rows), Trainer(), guard=guard)  # type: ignore[arg-type]
    found, began = Result(), time.perf_counter()
    with watching() as unexpected:
        while found.inputs < inputs:
            wanted = min(FRAMES_A_SESSION, inputs - found.inputs)
            frames = [corpus.draw(rng) for _ in range(wanted)]
            await _session(node, frames, found, unexpected, corpus)
            if not found.before and found.inputs >= min(WARM_UP, inputs // 2):
                found.before = _memory()
    found.seconds, found.after = time.perf_counter() - began, _memory()
    found.kinds = len(corpus)
    return found


async def _session(
    node: DataOwnerNode,
    inputs: list[bytes],
    found: Result,
    unexpected: Unexpected,
    corpus: Corpus,
) -> None:
    greeting = Greeting(role="coordinator", id="fuzz").to_map()
    first = opening(node.guard.allows_pointers)
    line = Line([frame(Kind.HELLO, new_request_id(), pack_map(greeting)), *first, *inputs])
    await Session(node, line).run()  # type: ignore[arg-type]  # what it uses of a connection
    taken = inputs[: max(0, line.taken - 1 - len(first))]
    found.sessions += 1
    found.inputs += max(1, len(taken))
    found.ended += line.closed is not None
    answers = [parse_frame(one) for one in line.sent]
    asked_by = {one[1:17]: one for one in taken}
    for answer in answers:
        if answer.kind in (Kind.REPLY, Kind.ERROR) and bytes(answer.request_id) in asked_by:
            corpus.learn(asked_by[bytes(answer.request_id)], answer)
    kinds = [one.kind for one in answers]
    found.answers += kinds.count(Kind.REPLY)
    found.refused += kinds.count(Kind.ERROR)
    asked = sum(one[:1] == bytes((Kind.REQUEST,)) and len(one) >= 17 for one in (*first, *taken))
    answered = kinds.count(Kind.REPLY) + kinds.count(Kind.ERROR)
    if unexpected.records or (line.closed is None and answered < asked):
        said = unexpected.records[0].getMessage() if unexpected.records else "no answer"
        caused = unexpected.records[0].exc_info if unexpected.records else None
        raise FedsmsError(f"a session broke: {said}", f"{caused} at {taken[-1][:400]!r}")


def _memory() -> int:
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@click.command()
@click.option("--inputs", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--pointers", is_flag=True, help="Of a node that allows pointer operations.")
@click.option("--most-growth", default=64, show_default=True, help="MiB of memory.")
def main(inputs: int, seed: int, pointers: bool, most_growth: int) -> None:
    """Feed mutated frames to a node's decoder and sessions."""
    found = asyncio.run(fuzz(inputs, seed, pointers))
    click.echo(json.dumps({**vars(found), "growth": found.growth}))
    if found.growth > most_growth * 2**20:
        raise FedsmsError(f"memory grew by {found.growth // 2**20} MiB")


if __name__ == "__main__":
    run(main, "python scripts/fuzz.py")
