"""Two coordinators at once: PySyft's worker has one queue of messages, so each may get the other's
answer, and one store, so each may have the other's objects."""

from __future__ import annotations

import asyncio
import binascii

from websockets.asyncio.client import connect

from scripts.local.nodes import LocalNode
from shared.model.recipe import Recipe
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectMessage,
    ObjectRequestMessage,
    WorkerCommandMessage,
    deserialize,
    serialize,
)
from shared.wire.commands import CANCEL
from shared.wire.frames import Kind, frame
from tests.attacks.scene import StockWorker, me, report
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
from tests.helpers.peers import coordinator


def test_many_requests_of_two_coordinators_each_get_their_own_answer(bob: LocalNode) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as one, coordinator(bob.url) as other:
            mine, theirs = tensor([1.0], 41), tensor([2.0], 41)  # the same id
            await asyncio.gather(
                one.ask(pack(ObjectMessage(mine))), other.ask(pack(ObjectMessage(theirs)))
            )
            request_id = bytes(16)  # the same request id, too
            asked = frame(Kind.REQUEST, request_id, pack(ObjectRequestMessage(41, None, "")))
            await asyncio.gather(one.connection.send(asked), other.connection.send(asked))
            assert reply(await one.answer_to(request_id)).tolist() == [1.0]
            assert reply(await other.answer_to(request_id)).tolist() == [2.0]

    run(session())


def test_one_coordinator_neither_fetches_deletes_nor_cancels_anothers(
    bob: LocalNode, recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as victim, coordinator(bob.url) as attacker:
            state_id = await send_state(victim, recipe)
            wanted = training(recipe, state_id)
            request_id = await victim.send(Kind.REQUEST, command("train", **wanted))
            await attacker.ask(command(CANCEL))
            await attacker.ask(pack(ForceObjectDeleteMessage(state_id)))
            for object_id in (state_id, wanted["result_id"]):
                why = error(await attacker.ask(pack(ObjectRequestMessage(object_id, None, ""))))
                assert "no such object" in why.fact
            assert reply(await victim.answer_to(request_id))["rows"] == 140

    run(session())


def test_pysyfts_own_worker_answers_the_wrong_one(stock: StockWorker) -> None:
    """A second connection that only listens gets the answer to the first one's question."""
    url = f"ws://127.0.0.1:{stock.port}"
    asked = serialize(WorkerCommandMessage("objects_count", ((), {}, [])), me())

    async def overhear() -> list[object]:
        async with connect(url, proxy=None) as victim, connect(url, proxy=None) as listener:
            got: list[object] = []
            for _ in range(2):
                await victim.send(str(binascii.hexlify(asked)))
                waiting = [asyncio.create_task(one.recv()) for one in (victim, listener)]
                done, pending = await asyncio.wait(
                    waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED
                )
                for task in pending:
                    task.cancel()
                if waiting[1] in done:
                    answer = waiting[1].result()
                    got.append(deserialize(binascii.unhexlify(answer[2:-1]), me()))
            return got

    (count,) = asyncio.run(overhear())
    assert isinstance(count, int)
    report("listen on a second connection", "the other's answers", "nothing: own session and store")
