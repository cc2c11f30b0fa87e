"""Any method of the worker, called by its name: `getattr(self, name)(*arguments)` in PySyft."""

from __future__ import annotations

import pytest

from scripts.local.nodes import LocalNode
from shared.errors import NodeFailed
from shared.pysyft import WorkerCommandMessage
from tests.attacks.scene import StockWorker, report
from tests.attacks.stock_worker import ROWS
from tests.helpers.node_requests import error, pack, run
from tests.helpers.peers import coordinator

NAMES = (
    "__getattribute__",
    "__class__",
    "__init__",
    "__reduce__",
    "_objects",
    "_recv_msg",
    "recv_msg",
    "shard",
    "trainer",
    "greeting",
    "guard",
    "search",
    "set_obj",
    "get_obj",
    "rm_obj",
    "clear_objects",
    "list_objects",
    "_get_msg",
    "fit",
    "evaluate.__globals__",
    "trainer.close",
    "os.system",
    "torch.load",
)


@pytest.mark.parametrize("name", NAMES)
def test_no_method_of_the_node_is_called_by_its_name(bob: LocalNode, name: str) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            for arguments in ((), ("_objects",), ("shard",), (7,)):
                asked = pack(WorkerCommandMessage(name, (arguments, {}, [])))
                why = error(await peer.ask(asked))
                assert isinstance(why, NodeFailed)
                assert "knows no command" in why.fact

    run(session())


def test_pysyfts_own_worker_hands_over_its_objects(stock: StockWorker) -> None:
    got = stock.command("__getattribute__", "_objects")
    assert got[stock.rows_id].tolist() == ROWS
    assert str(stock.rows_id) in stock.command("list_objects")
    report("call `__getattribute__('_objects')`", "all rows", "refused: no such command")
