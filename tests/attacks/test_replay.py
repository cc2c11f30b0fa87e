"""A training request sent again, by the same coordinator or by somebody who recorded it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scripts.local.nodes import LocalNode, local_nodes
from shared.model.recipe import Recipe
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectMessage,
    ObjectRequestMessage,
    TensorCommandMessage,
    serialize,
    sy,
)
from shared.wire.commands import TRAIN
from shared.wire.frames import Kind, frame, new_request_id
from tests.attacks.scene import StockWorker, me, report
from tests.conftest import OwnerFiles
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


def test_a_repeated_training_tells_nothing_new(bob: LocalNode, recipe: Recipe) -> None:
    """The same bits come back, so that whoever repeats it learns no more than from the first."""

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            asked = command(TRAIN, **training(recipe, state_id, result_id=8))
            request_id = new_request_id()
            results = []
            for _ in range(2):
                await peer.connection.send(frame(Kind.REQUEST, request_id, asked))
                assert reply(await peer.answer_to(request_id))["rows"] == 140
                fetched = reply(await peer.ask(pack(ObjectRequestMessage(8, None, ""))))
                results.append(fetched.tolist())
            assert results[0] == results[1]

    run(session())


def test_a_recorded_request_is_nothing_in_another_session(bob: LocalNode, recipe: Recipe) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            recorded = command(TRAIN, **training(recipe, state_id))
            assert reply(await peer.ask(recorded))["rows"] == 140
        async with coordinator(bob.url) as thief:
            assert "was not sent" in error(await thief.ask(recorded)).fact

    run(session())


def test_a_second_request_with_the_id_of_an_open_one_cannot_take_its_line_in_the_log(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path
) -> None:
    """Else a training would be written down as what the second one asks for."""
    log = tmp_path / "audit.jsonl"

    async def session(url: str) -> None:
        async with coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            request_id = new_request_id()
            trains = command(TRAIN, **training(recipe, state_id))
            deletes = pack(ForceObjectDeleteMessage(12345))
            for asked in (trains, deletes):
                await peer.connection.send(frame(Kind.REQUEST, request_id, asked))
            await peer.connection.wait_closed()
            assert peer.connection.close_code == 1002
        async with coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            assert (
                reply(await peer.ask(command(TRAIN, **training(recipe, state_id))))["rows"] == 140
            )

    with local_nodes({"bob": (*owners[1].flags, "--audit-log", str(log))}) as (node,):
        run(session(node.url))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {"request", "delete"}.isdisjoint(line["what"] for line in lines)
    assert any("id of a request" in line["detail"] for line in lines)


def test_pysyfts_own_worker_does_a_repeated_request_again(stock: StockWorker) -> None:
    stock.ask(ObjectMessage(tensor([1.0], 501)))
    pointed: Any = sy.PointerTensor(
        location=SimpleNamespace(id="bob"),
        id_at_location=501,
        owner=me(),
        id=502,
        garbage_collect_data=False,
    )
    asked = TensorCommandMessage.computation("add_", pointed, (1,), {}, [503])
    recorded = serialize(asked, me())
    for _ in range(3):
        stock.ask_bytes(recorded)
    assert stock.command("__getattribute__", "_objects")[501].tolist() == [4.0]
    report("replay of a request", "done again", "answered from memory; nothing in another session")
