"""How much memory one session may have a node keep, whatever it is called: the bytes of what was
sent, what a small patch becomes, what a training will leave, and all that hangs on a tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from server.nodes.client import pack_state
from shared.errors import NodeFailed
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.pysyft import ForceObjectDeleteMessage, ObjectMessage
from shared.wire.commands import EVALUATE, TRAIN
from shared.wire.frames import Kind
from tests.helpers.node_requests import command, error, pack, reply, run, tensor, training
from tests.helpers.peers import Peer, coordinator
from tests.helpers.served_nodes import served_node

PARAMETERS = 10_000
ROOM = 4 * (4 * PARAMETERS + 2**20)
"""What the page says: 4 times the largest message that this policy allows."""
POLICY: dict[str, Any] = {"recipe": {"parameters": PARAMETERS}}


async def keep(peer: Peer, size: int, object_id: int) -> Kind:
    sent = tensor(np.zeros(size, np.uint8), object_id)
    return (await peer.ask(pack(ObjectMessage(sent)))).kind


async def fill(peer: Peer, free: int) -> None:
    """Objects of other ids until so many bytes are left."""
    for number in range(4):
        size = (ROOM - free) // 4 + (number < (ROOM - free) % 4)
        assert await keep(peer, size, 100 + number) is Kind.REPLY


@pytest.mark.parametrize(("more", "kind"), [(0, Kind.REPLY), (1, Kind.ERROR)])
def test_a_session_keeps_its_bytes_and_not_one_more(more: int, kind: Kind) -> None:
    async def scene() -> None:
        async with served_node(POLICY) as url, coordinator(url) as peer:
            await fill(peer, 1000)
            assert await keep(peer, 1000 + more, 1) is kind
            await peer.ask(pack(ForceObjectDeleteMessage(100)))
            assert await keep(peer, 1000, 2) is Kind.REPLY

    run(scene())


def with_gradient(sent: Any) -> None:
    sent.grad = torch.ones(100_000)


def with_description(sent: Any) -> None:
    sent.description = "x" * 400_000


def with_tags(sent: Any) -> None:
    sent.tags = {"x" * 400_000}


def with_a_long_id(sent: Any) -> None:
    sent.id = "x" * 400_000


@pytest.mark.parametrize("change", [with_gradient, with_description, with_tags, with_a_long_id])
def test_nothing_is_kept_that_hangs_on_a_tensor(change: Callable[[Any], None]) -> None:
    async def scene() -> None:
        async with served_node(POLICY) as url, coordinator(url) as peer:
            sent: Any = torch.ones(100_000, requires_grad=True)
            sent.id = 1
            change(sent)
            why = error(await peer.ask(pack(ObjectMessage(sent))))
            assert isinstance(why, NodeFailed)
            assert "keeps tensors" in why.fact

    run(scene())


@pytest.mark.parametrize("free", [-1, 0])
def test_a_patch_counts_as_the_state_that_it_becomes(recipe: Recipe, free: int) -> None:
    """Of some hundred bytes each; seven of them were seven models."""
    state = initial_state(recipe, 1)
    changed = state.copy()
    changed[0] += 1
    wanted = {"state_id": 2, "base_id": 1, "recipe": recipe.to_json()}

    async def scene() -> None:
        async with served_node(POLICY) as url, coordinator(url) as peer:
            await peer.ask(pack_state(state, None, 1))
            await fill(peer, 2 * state.nbytes + free)
            assert (await peer.ask(pack_state(changed, state, 2))).kind is Kind.REPLY
            for _ in range(2):  # the second is of a state that is whole already
                answer = await peer.ask(command(EVALUATE, **wanted))
                if free < 0:
                    assert "bytes on this node" in str(error(answer))
                else:
                    assert answer.kind is Kind.REPLY

    run(scene())


@pytest.mark.parametrize("free", [-1, 0])
def test_a_training_counts_as_the_state_that_it_will_leave(recipe: Recipe, free: int) -> None:
    state = initial_state(recipe, 1)

    async def scene() -> None:
        async with served_node(POLICY) as url, coordinator(url) as peer:
            await peer.ask(pack_state(state, None, 1))
            await fill(peer, 2 * state.nbytes + free)
            answer = await peer.ask(command(TRAIN, **training(recipe, 1)))
            if free < 0:
                assert "bytes on this node" in str(error(answer))
            else:
                assert reply(answer)["rows"] == 2

    run(scene())


def test_work_under_way_holds_its_place(slow_recipe: Recipe) -> None:
    """Two trainings at once do not both get the room of one; what ends gives it back."""
    state = initial_state(slow_recipe, 1)
    policy = {"recipe": {"parameters": state.size}}
    room = 4 * (state.nbytes + 2**20)

    async def scene() -> None:
        async with served_node(policy) as url, coordinator(url) as peer:
            await peer.ask(pack_state(state, None, 1))
            asked = await peer.send(
                Kind.REQUEST, command(TRAIN, **training(slow_recipe, 1, result_id=2))
            )
            for number in range(5):
                size = (room - 2 * state.nbytes) // 5
                assert await keep(peer, size, 100 + number) is Kind.REPLY
            second = await peer.ask(command(TRAIN, **training(slow_recipe, 1, result_id=3)))
            assert "bytes on this node" in str(error(second))
            await peer.ask(command("cancel"))
            error(await peer.answer_to(asked))
            assert await keep(peer, state.nbytes, 4) is Kind.REPLY

    run(scene())


def test_numbers_that_numpy_does_not_have_are_counted_and_are_no_state(recipe: Recipe) -> None:
    async def scene() -> None:
        async with served_node(POLICY) as url, coordinator(url) as peer:
            await fill(peer, 1000)
            for size, kind in ((501, Kind.ERROR), (500, Kind.REPLY)):
                sent: Any = torch.zeros(size, dtype=torch.bfloat16)
                sent.id = 1
                assert (await peer.ask(pack(ObjectMessage(sent)))).kind is kind
            why = error(await peer.ask(command(TRAIN, **training(recipe, 1))))
            assert "no model state" in why.fact

    run(scene())
