"""Feeds mutated frames to a node's decoder and sessions, and says what came of it.

    python scripts/fuzz.py --inputs 100000
    python scripts/fuzz.py --inputs 2000 --seed 7 --pointers

The frames begin as what a coordinator really sends. They are cut, joined, repeated and changed, and
given to the product's own Session over a connection in memory; the trainer is one that answers at
once. An unexpected error in a session, a request without an answer, or memory that grows by more
than --most-growth ends it with exit code 1, and the input is printed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from server.node_client import pack_state
from shared.cli import run
from shared.commands import CANCEL, EVALUATE, TRAIN
from shared.errors import FedsmsError
from shared.handshake import Greeting
from shared.model import initial_state
from shared.pointer_commands import OPEN_POINTERS
from shared.pointer_wire import Item, pack_commands
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectRequestMessage,
    WorkerCommandMessage,
    make_hook,
    serialize,
)
from shared.recipe import Recipe
from shared.wire import Kind, frame, new_request_id, pack_map, parse_frame
from worker_node.dataset import Message, Shard
from worker_node.guard import Guard
from worker_node.node import DataOwnerNode
from worker_node.pace import Pace
from worker_node.policy import Policy
from worker_node.session import Session

FRAMES_A_SESSION = 64
WARM_UP = 2000
RECIPE = Recipe.parse(
    {"text": {"tokens": 4, "buckets": 32}, "model": {"embedding": 2, "hidden": 2}}, "fuzz"
)
Mutation = Callable[[random.Random, bytearray], None]


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

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = code


def corpus(pointers: bool) -> list[bytes]:
    """Frames as a coordinator sends them."""
    me = make_hook().local_worker
    recipe = RECIPE.to_json()
    train = {"state_id": 1, "result_id": 2, "run": "fuzz", "recipe": recipe, "seed": 1}
    train |= {"round": 1, "rounds": 2}
    evaluate = {"state_id": 1, "base_id": None, "recipe": recipe}
    commands: list[tuple[str, dict[str, Any]]] = [
        (TRAIN, train),
        (EVALUATE, evaluate),
        (CANCEL, {}),
    ]
    if pointers:
        commands.append((OPEN_POINTERS, {"recipe": recipe, "seed": 1}))
    messages = [WorkerCommandMessage(name, ((), given, [])) for name, given in commands]
    payloads = [serialize(message, me) for message in messages]
    start = initial_state(RECIPE, 1)
    payloads += [pack_state(start, None, 1), pack_state(start + 1, start, 3)]
    payloads += [serialize(ObjectRequestMessage(one, None, ""), me) for one in (1, 2)]
    payloads.append(serialize(ForceObjectDeleteMessage(3), me))
    frames = [frame(Kind.REQUEST, new_request_id(), payload) for payload in payloads]
    if pointers:
        frames += [frame(Kind.COMMANDS, new_request_id(), one) for one in _pointer_payloads()]
    return frames


def _pointer_payloads() -> list[bytes]:
    ones = ("torch.ones", (("l", 2, 2),), ())
    double = ("__add__", (("r", 0), ("r", 0)), ())
    numbers = np.array([1, 71, 2, 71, 71, 72], dtype="<i8").tobytes()
    items: list[list[tuple[int, Any]]] = [
        [(Item.TEMPLATES, (ones, double)), (Item.COMMANDS, numbers), (Item.FETCH, 72)],
        [(Item.SEARCH, ("#train",)), (Item.COUNT, None), (Item.SHAPE, 71), (Item.CLEAR, None)],
    ]
    return [pack_commands(True, one) for one in items]


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 4, 16))]


def _insert(rng: random.Random, data: bytearray) -> None:
    heads = (
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\x00\x10\x00\x00",
        b"\xc6\x7f\xff\xff\xff",
        b"\x91" * 600,
    )
    place = rng.randrange(len(data))
    data[place:place] = rng.choice((*heads, rng.randbytes(rng.randint(1, 9)), b"\xcb\x7f\xf8" * 3))


def _repeat(rng: random.Random, data: bytearray) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randint(1, 40)]
    data[start:start] = piece * rng.choice((1, 2, 50))


MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _flip, _cut, _drop, _insert, _repeat)


def mutated(rng: random.Random, frames: list[bytes]) -> bytes:
    """A frame with a good head more often than not, so that what is behind it is reached."""
    data = bytearray(rng.choice(frames))
    head = bytes(data[:1]) + rng.randbytes(16)
    if rng.random() < 0.1:
        data += rng.choice(frames)[17:]
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        if data:
            rng.choice(MUTATIONS)(rng, data)
    return head + bytes(data[17:]) if rng.random() < 0.97 else bytes(data)


class Unexpected(logging.Handler):
    """Remembers what a session logs as an error: each is a bug."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@dataclass
class Result:
    """What the inputs led to. growth: bytes of memory since the warm-up."""

    inputs: int = 0
    sessions: int = 0
    answers: int = 0
    refused: int = 0
    ended: int = 0
    seconds: float = 0.0
    growth: int = 0


async def fuzz(inputs: int, seed: int, pointers: bool) -> Result:
    """Raises FedsmsError where a session broke."""
    rng = random.Random(seed)  # noqa: S311  # inputs that a seed gives again
    frames = corpus(pointers)
    rows = (Message(0, "see you"), Message(1, "win a prize"))
    modes: Any = ("train", "evaluate", *(("pointers",) if pointers else ()))
    days = {"rounds": 10**9, "evaluations": 10**9}
    policy = Policy(modes=modes, day=days, pointers={"numbers": 10**9})  # type: ignore[arg-type]
    guard = Guard(policy, pace=Pace(burst=1e12))
    node = DataOwnerNode("bob", Shard(rows, rows), Trainer(), guard=guard)  # type: ignore[arg-type]
    unexpected = Unexpected()
    logger = logging.getLogger("fedsms.node")
    logger.addHandler(unexpected)
    logger.propagate = False
    found, began, floor = Result(), time.perf_counter(), 0
    try:
        while found.inputs < inputs:
            wanted = min(FRAMES_A_SESSION, inputs - found.inputs)
            await _session(node, [mutated(rng, frames) for _ in range(wanted)], found, unexpected)
            if not floor and found.inputs >= min(WARM_UP, inputs // 2):
                floor = _memory()
    finally:
        logger.removeHandler(unexpected)
        logger.propagate = True
    found.seconds, found.growth = time.perf_counter() - began, _memory() - floor
    return found


async def _session(
    node: DataOwnerNode, inputs: list[bytes], found: Result, unexpected: Unexpected
) -> None:
    greeting = Greeting(role="coordinator", id="fuzz").to_map()
    line = Line([frame(Kind.HELLO, new_request_id(), pack_map(greeting)), *inputs])
    await Session(node, line).run()  # type: ignore[arg-type]  # what it uses of a connection
    taken = inputs[: line.taken - 1]
    found.sessions += 1
    found.inputs += max(1, len(taken))
    found.ended += line.closed is not None
    kinds = [parse_frame(one).kind for one in line.sent]
    found.answers += kinds.count(Kind.REPLY)
    found.refused += kinds.count(Kind.ERROR)
    asked = sum(one[:1] == bytes((Kind.REQUEST,)) and len(one) >= 17 for one in taken)
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
    click.echo(json.dumps(vars(found)))
    if found.growth > most_growth * 2**20:
        raise FedsmsError(f"memory grew by {found.growth // 2**20} MiB")


if __name__ == "__main__":
    run(main, "python scripts/fuzz.py")
