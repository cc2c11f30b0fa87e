"""What scripts/fuzz.py feeds: frames as a coordinator sends them, and what becomes of them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from server.nodes.client import pack_state
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.pointers.commands import OPEN_POINTERS
from shared.pointers.frames import Item, pack_commands
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectRequestMessage,
    WorkerCommandMessage,
    make_hook,
    serialize,
)
from shared.wire.commands import CANCEL, EVALUATE, PROPOSE, TRAIN
from shared.wire.frames import Frame, Kind, frame, new_request_id, unpack_error

MAX_KEPT = 2000
"""Frames that led somewhere new."""
RECIPE = Recipe.parse(
    {"text": {"tokens": 4, "buckets": 32}, "model": {"embedding": 2, "hidden": 2}}, "fuzz"
)
Mutation = Callable[[random.Random, bytearray], None]


def opening(pointers: bool) -> list[bytes]:
    """Requests that a session begins with, so that what follows finds a state, and pointers."""
    me = make_hook().local_worker
    payloads = [pack_state(initial_state(RECIPE, 1), None, 1)]
    if pointers:
        arguments = {"recipe": RECIPE.to_json(), "seed": 1}
        payloads.append(serialize(WorkerCommandMessage(OPEN_POINTERS, ((), arguments, [])), me))
    return [frame(Kind.REQUEST, new_request_id(), payload) for payload in payloads]


def frames_of_a_coordinator(pointers: bool) -> list[bytes]:
    """Frames as a coordinator sends them."""
    me = make_hook().local_worker
    recipe = RECIPE.to_json()
    train = {"state_id": 1, "result_id": 2, "run": "fuzz", "recipe": recipe, "seed": 1}
    train |= {"round": 1, "rounds": 2}
    evaluate = {"state_id": 1, "base_id": None, "recipe": recipe}
    commands: list[tuple[str, dict[str, Any]]] = [
        (PROPOSE, {"work": TRAIN, "run": "fuzz", "recipe": recipe, "rounds": 2}),
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


class Corpus:
    """Frames to change: those of a coordinator, and what led to an answer of a new kind."""

    def __init__(self, frames: list[bytes]) -> None:
        self._first = frames
        self._found: list[bytes] = []
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._found)

    def draw(self, rng: random.Random) -> bytes:
        """A frame, changed."""
        return mutated(rng, self._found if self._found and rng.random() < 0.5 else self._first)

    def learn(self, asked: bytes, answer: Frame) -> None:
        """Keeps a request whose answer, but for the numbers in it, is none that was seen."""
        words = "" if answer.kind is Kind.REPLY else str(unpack_error(answer.payload))
        kind = f"{asked[0]} {answer.kind} {re.sub('[0-9]+', '#', words)[:120]}"
        if kind not in self._seen and len(self._found) < MAX_KEPT:
            self._seen.add(kind)
            self._found.append(asked)


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
