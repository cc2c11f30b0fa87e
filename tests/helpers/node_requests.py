"""Requests to a node as PySyft messages, good ones and any others, and how its answers read."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any

import torch

from server.nodes.client import pack_state
from shared.errors import FedsmsError
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import new_object_id
from shared.pysyft import (
    WorkerCommandMessage,
    deserialize,
    make_hook,
    serialize,
)
from shared.wire.commands import TRAIN
from shared.wire.frames import Kind, unpack_error
from tests.helpers.peers import Peer, coordinator


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def pack(message: object) -> bytes:
    return serialize(message, make_hook().local_worker)


def command(name: str, **arguments: Any) -> bytes:
    return pack(WorkerCommandMessage(name, ((), arguments, [])))


def tensor(values: Any, object_id: int | None = None) -> Any:
    made: Any = torch.tensor(values)
    made.id = object_id or new_object_id()
    return made


async def send_state(peer: Peer, recipe: Recipe) -> int:
    state_id = new_object_id()
    answer = await peer.ask(pack_state(initial_state(recipe, 1), None, state_id))
    assert answer.kind is Kind.REPLY
    return state_id


def training(recipe: Recipe, state_id: int, **changed: Any) -> dict[str, Any]:
    """Arguments of a TRAIN command; by default good ones."""
    good: dict[str, Any] = {"state_id": state_id, "result_id": new_object_id(), "seed": 1}
    good["run"] = secrets.token_hex(16)
    return {**good, "recipe": recipe.to_json(), "round": 1, "rounds": 1, **changed}


def reply(answer: Any) -> Any:
    assert answer.kind is Kind.REPLY, error(answer)
    return deserialize(bytes(answer.payload), make_hook().local_worker)


def error(answer: Any) -> FedsmsError:
    assert answer.kind is Kind.ERROR, answer
    return unpack_error(answer.payload)


async def works(url: str, recipe: Recipe) -> None:
    """Does a whole session's work with a node."""
    async with coordinator(url) as peer:
        state_id = await send_state(peer, recipe)
        assert reply(await peer.ask(command(TRAIN, **training(recipe, state_id))))["rows"] == 140
