"""Functions by their path: `torch.from_file` reads any file, `torch.save` writes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode
from shared.errors import NodeFailed
from shared.pysyft import TensorCommandMessage, WorkerCommandMessage
from tests.attacks.scene import StockWorker, report
from tests.helpers.node_requests import error, pack, run, tensor
from tests.helpers.peers import coordinator

PATHS = ("torch.from_file", "torch.save", "torch.load", "torch.hub.load", "os.system", "eval")
SECRET = b"the owner's other files "


@pytest.mark.parametrize("path", PATHS)
def test_no_function_is_called_by_its_path(bob: LocalNode, path: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    written = tmp_path / "written"
    secret.write_bytes(SECRET)

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            for arguments in ((str(secret),), (tensor([1.0]), str(written))):
                computed = TensorCommandMessage.computation(path, None, arguments, {}, [1])
                called = WorkerCommandMessage(path, (arguments, {}, []))
                for message in (computed, called):
                    assert isinstance(error(await peer.ask(pack(message))), NodeFailed)

    run(session())
    assert not written.exists()


def test_pysyfts_own_worker_reads_a_file(stock: StockWorker, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    asked = TensorCommandMessage.computation(
        "torch.from_file", None, (str(secret),), {"size": len(SECRET) // 4}, [77]
    )
    stock.ask(asked)
    got = stock.command("__getattribute__", "_objects")[77]
    assert got.numpy().tobytes() == SECRET
    report("run `torch.from_file(path)`", "any file of the machine", "refused before it is built")
