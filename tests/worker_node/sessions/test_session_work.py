"""Work that takes long: a node goes on serving while it trains, and however that ends."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode
from server.nodes.addresses import NodeAddress
from server.nodes.client import NodeClient, pack_state
from server.nodes.dial import dial
from shared.errors import FedsmsError, NodeFailed
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import new_object_id
from shared.pysyft import (
    ObjectMessage,
    sy,
)
from shared.wire.commands import CANCEL, TRAIN, EvaluateCommand, Progress, TrainCommand
from shared.wire.frames import Kind, unpack_map
from tests.helpers.node_requests import (
    command,
    error,
    pack,
    reply,
    run,
    send_state,
    tensor,
    training,
)
from tests.helpers.peers import Peer, coordinator
from tests.helpers.running import children_of, greeting_of, is_alive, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("still_serves")]


async def busy(node: LocalNode) -> str:
    """What a node says that it is working on."""
    link = await dial(NodeAddress(node.id, node.url))
    await link.close()
    return link.greeting.busy


async def start_slow(peer: Peer, recipe: Recipe) -> bytes:
    """Starts a training of minutes, waits until it is under way; gives its request id."""
    wanted = training(recipe, await send_state(peer, recipe))
    request_id = await peer.send(Kind.REQUEST, command(TRAIN, **wanted))
    while (received := await peer.receive()).kind is not Kind.EVENT:
        assert received.request_id == request_id
    progress = Progress.parse(unpack_map(received.payload))
    assert 0 < progress.done < progress.total == 900
    return request_id


def test_a_session_answers_while_it_trains_and_tells_of_progress(
    bob: LocalNode, slow_recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            request_id = await start_slow(peer, slow_recipe)
            sent = tensor([3.0])
            assert (await peer.ask(pack(ObjectMessage(sent)))).kind is Kind.REPLY
            assert "training round 1 of 1 for a-test, batch" in await busy(bob)
            await gives_up(bob, slow_recipe)
            assert "training" in await busy(bob)
            while (received := await peer.receive()).kind is not Kind.EVENT:
                pass
            assert received.request_id == request_id

    run(session())
    until(lambda: greeting_of("bob", bob.url).busy == "", "the node to stop what nobody waits for")


async def gives_up(node: LocalNode, recipe: Recipe) -> None:
    """Asks for a training that must wait for another's, and cancels it."""
    async with coordinator(node.url) as peer:
        state_id = await send_state(peer, recipe)
        request_id = await peer.send(Kind.REQUEST, command(TRAIN, **training(recipe, state_id)))
        await peer.send(Kind.REQUEST, command(CANCEL))
        assert "cancelled" in str(error(await peer.answer_to(request_id)))


def test_cancelled_trainings_are_answered_and_the_node_is_idle_again(
    bob: LocalNode, slow_recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            waiting = {await start_slow(peer, slow_recipe)}
            state_id = await send_state(peer, slow_recipe)
            for _ in range(3):
                wanted = command(TRAIN, **training(slow_recipe, state_id))
                waiting.add(await peer.send(Kind.REQUEST, wanted))
            refused = await peer.ask(command(TRAIN, **training(slow_recipe, state_id)))
            assert "at most 4" in str(error(refused))
            assert reply(await peer.ask(command(CANCEL))) is None
            while waiting:
                received = await peer.receive()
                if received.kind is not Kind.EVENT:
                    assert "cancelled" in str(error(received))
                    waiting.remove(received.request_id)

    run(session())
    assert greeting_of("bob", bob.url).busy == ""


def test_who_cancels_and_leaves_at_once_harms_nobody_who_waits(
    bob: LocalNode, slow_recipe: Recipe, recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as waiting:
            state_id = await send_state(waiting, recipe)
            async with coordinator(bob.url) as peer:
                await start_slow(peer, slow_recipe)
                wanted = command(TRAIN, **training(recipe, state_id))
                request_id = await waiting.send(Kind.REQUEST, wanted)
                await peer.send(Kind.REQUEST, command(CANCEL))
            assert reply(await waiting.answer_to(request_id))["rows"] == 140

    run(session())


def test_a_trainer_that_dies_is_named_and_the_next_request_has_a_new_one(
    bob: LocalNode, slow_recipe: Recipe, recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            request_id = await start_slow(peer, slow_recipe)
            (trainer,) = children_of(bob.process.pid)
            os.kill(trainer, signal.SIGKILL)
            why = error(await peer.answer_to(request_id))
            assert isinstance(why, NodeFailed)
            assert why.fact == "the training process of the node died"
            assert why.cause == "it was ended by signal 9"
            assert not is_alive(trainer)

            state_id = await send_state(peer, recipe)
            answer = await peer.ask(command(TRAIN, **training(recipe, state_id)))
            assert reply(answer)["rows"] == 140

    run(session())


def test_who_leaves_while_the_trainer_starts_again_leaves_a_working_one(
    bob: LocalNode, recipe: Recipe
) -> None:
    async def session() -> None:
        (trainer,) = children_of(bob.process.pid)
        os.kill(trainer, signal.SIGKILL)
        await asyncio.to_thread(  # or the request goes to the one that is dying, and fails with it
            until, lambda: not children_of(bob.process.pid), "the node to notice the death"
        )
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            await peer.send(Kind.REQUEST, command(TRAIN, **training(recipe, state_id)))
            await asyncio.to_thread(
                until, lambda: bool(children_of(bob.process.pid)), "a new trainer to start"
            )

    run(session())


# PySyft's own calls


def test_pysyfts_blocking_calls_bring_a_tensor_to_a_node_and_back(bob: LocalNode) -> None:
    async def session() -> None:
        client = NodeClient("bob", await dial(NodeAddress("bob", bob.url)))
        try:
            sent = torch.tensor([[1.5, -2.0], [0.0, 4.0]])

            def there_and_back() -> Any:
                pointer: Any = sent.send(client)  # type: ignore[attr-defined]
                assert isinstance(pointer.child, sy.PointerTensor)
                return pointer.get()

            back = await asyncio.to_thread(there_and_back)
            assert back.tolist() == sent.tolist()
            with pytest.raises(FedsmsError, match="would wait for itself"):
                sent.send(client)  # type: ignore[attr-defined]
        finally:
            await client.link.close()

    run(session())


def test_a_client_trains_evaluates_and_fetches(bob: LocalNode, recipe: Recipe) -> None:
    async def session() -> None:
        client = NodeClient("bob", await dial(NodeAddress("bob", bob.url)))
        try:
            start, state_id, result_id = initial_state(recipe, 3), new_object_id(), new_object_id()
            await client.send_state(pack_state(start, None, state_id))
            told: list[Progress] = []
            report = await client.train(
                TrainCommand(**training(recipe, state_id, result_id=result_id)), told.append
            )
            assert report.rows == 140
            assert report.batches == told[-1].done == told[-1].total == 9
            trained = await client.fetch_state(result_id, start)
            assert trained.shape == start.shape
            assert not np.array_equal(trained, start)
            report_of = await client.evaluate(
                EvaluateCommand(state_id=state_id, base_id=None, recipe=recipe.to_json())
            )
            assert sum(report_of.ham.values()) + sum(report_of.spam.values()) == 50
            await client.forget(state_id)
        finally:
            await client.link.close()

    run(session())
