"""The owner's rows, asked for: by id, by tag, by search, by copy, by view, by arithmetic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scripts.local.nodes import LocalNode
from shared.errors import NodeFailed
from shared.pysyft import (
    ForceObjectDeleteMessage,
    GetShapeMessage,
    IsNoneMessage,
    ObjectMessage,
    ObjectRequestMessage,
    SearchMessage,
    TensorCommandMessage,
    sy,
)
from tests.attacks.scene import StockWorker, me, report
from tests.attacks.stock_worker import LABELS, ROWS
from tests.helpers.node_requests import error, pack, reply, run, tensor
from tests.helpers.peers import coordinator


def computation(name: str, target: Any, *arguments: Any) -> TensorCommandMessage:
    return TensorCommandMessage.computation(name, target, arguments, {}, [901])


WAYS: dict[str, Any] = {
    "by id": lambda: ObjectRequestMessage(1, None, ""),
    "by a guessed name": lambda: ObjectRequestMessage("#inputs", None, ""),
    "by search": lambda: SearchMessage([]),
    "by tag": lambda: SearchMessage(["#inputs"]),
    "its shape": lambda: GetShapeMessage(1),
    "whether it is there": lambda: IsNoneMessage(1),
    "by copy": lambda: computation("copy", tensor([1.0], 1)),
    "by view": lambda: computation("view", tensor([1.0], 1), -1),
    "by arithmetic": lambda: computation("__add__", tensor([1.0], 1), 0),
    "as an answer's value": lambda: computation("tolist", tensor([1.0], 1)),
    "by deleting it": lambda: ForceObjectDeleteMessage("shard"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_node_in_rounds_has_no_rows_to_give(bob: LocalNode, way: str) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            answer = await peer.ask(pack(WAYS[way]()))
            if way == "by deleting it":
                assert reply(answer) is None  # there is nothing of that name
            else:
                assert isinstance(error(answer), NodeFailed)

    run(session())


def test_no_id_that_can_be_guessed_is_one_of_rows(bob: LocalNode) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            for guess in (*range(200), "train", "held_out", "shard", "data", "me", "bob"):
                why = error(await peer.ask(pack(ObjectRequestMessage(guess, None, ""))))
                assert "no such object" in why.fact

    run(session())


def test_pysyfts_own_worker_gives_its_rows_in_each_of_these_ways(stock: StockWorker) -> None:
    (found,) = stock.ask(SearchMessage(["#inputs"]))
    assert found.id_at_location == stock.rows_id
    report("search by tag", "pointers to all data sets", "refused: no such message")

    pointed: Any = sy.PointerTensor(
        location=SimpleNamespace(id="bob"),
        id_at_location=stock.rows_id,
        owner=me(),
        id=902,
        garbage_collect_data=False,
    )
    for name, arguments in (("copy", ()), ("view", (-1,)), ("__add__", (0,))):
        asked = TensorCommandMessage.computation(name, pointed, arguments, {}, [901])
        stock.ask(asked)
        got = stock.ask(ObjectRequestMessage(901, None, ""))
        assert got.flatten().tolist() == [number for row in ROWS for number in row]
        report(f"fetch rows by `{name}`", "all rows", "refused: no such message")

    got = stock.ask(ObjectRequestMessage(stock.labels_id, None, ""))
    assert got.tolist() == LABELS
    report("fetch rows by id", "all rows", "refused: no such object")


def test_pysyfts_own_worker_lets_anybody_change_its_rows(stock: StockWorker) -> None:
    stock.ask(ObjectMessage(tensor([9.0], stock.labels_id)))
    assert stock.command("__getattribute__", "_objects")[stock.labels_id].tolist() == [9.0]
    stock.command("clear_objects")
    assert stock.command("objects_count") == 0
    report("replace and delete rows", "done", "refused: no such object, no such command")
