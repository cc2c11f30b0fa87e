"""What false nodes answer: as a good one would, but for what a test changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from websockets.asyncio.server import ServerConnection

from shared.errors import PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectRequestMessage,
    WorkerCommandMessage,
    deserialize,
    make_hook,
    serialize,
)
from shared.wire.commands import EVALUATE, PROPOSE, TRAIN
from shared.wire.frames import Frame, Kind, frame, pack_error

TRAINED = {
    "rows": 10,
    "batches": 1,
    "loss": 0.5,
    "seconds_training": 0.1,
    "seconds_waiting": 0.0,
}
EVALUATED = {
    "ham": {7: 3},
    "spam": {2000: 2},
    "loss_sum": 1.0,
    "seconds_evaluating": 0.1,
    "seconds_waiting": 0.0,
}


def pack(values: object) -> bytes:
    return serialize(values, make_hook().local_worker)


class Answers:
    """What a false node answers, by what it is asked for: payloads of replies.

    None answers nothing at all; a coroutine function does as it likes.
    """

    def __init__(self, recipe: Recipe, **changed: Any) -> None:
        state = torch.from_numpy(initial_state(recipe, 1))
        self._payloads: dict[str, Any] = {
            PROPOSE: pack(None),
            TRAIN: pack(TRAINED),
            EVALUATE: pack(EVALUATED),
            "object": pack(state),
            "forget": pack(None),
            "state": pack(None),
            **changed,
        }

    async def __call__(self, connection: ServerConnection, request: Frame) -> None:
        payload = self._payloads[self._asked(request)]
        if callable(payload):
            await payload(connection, request)
        elif payload is not None:
            await connection.send(frame(Kind.REPLY, request.request_id, payload))

    def _asked(self, request: Frame) -> str:
        message = deserialize(bytes(request.payload), make_hook().local_worker)
        if isinstance(message, WorkerCommandMessage):
            return str(message.command_name)
        if isinstance(message, ObjectRequestMessage):
            return "object"
        return "forget" if isinstance(message, ForceObjectDeleteMessage) else "state"


class Counting(Answers):
    """A node that counts what it is asked for, and over how many connections."""

    def __init__(self, recipe: Recipe, **changed: Any) -> None:
        super().__init__(recipe, **changed)
        self.asked: Counter[str] = Counter()
        self.connections: set[ServerConnection] = set()

    async def __call__(self, connection: ServerConnection, request: Frame) -> None:
        self.asked[self._asked(request)] += 1
        self.connections.add(connection)
        await super().__call__(connection, request)


async def says_no(connection: ServerConnection, request: Frame) -> None:
    error = PolicyRefused("the owner's policy does not allow this (rule hours)", "it is night")
    await connection.send(frame(Kind.ERROR, request.request_id, pack_error(error)))
