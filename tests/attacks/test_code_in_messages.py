"""Code inside a message: a pickled tensor, a TorchScript blob, a plan, and objects that act."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.local_nodes import LocalNode
from shared.errors import NodeFailed
from shared.pysyft import ObjectMessage, WorkerCommandMessage
from tests.attacks.scene import StockWorker, me, report
from tests.node_requests import error, run
from tests.peers import coordinator
from tests.pysyft_messages import simple, wire


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def pickled_tensor(path: Path) -> Any:
    """A PySyft message with a tensor whose content is a pickle, as PySyft itself sends them."""
    values = simple(ObjectMessage(torch.zeros(1)), me())
    values[1][0][1][1] = pickle.dumps(Touch(path), protocol=2)
    return values


BLOBS: dict[str, Any] = {
    "a TorchScript blob": [12, [b"PK\x03\x04"]],
    "a plan": [21, []],
    "a plan as an object": [34, [[21, []]]],
    "a worker that is made and registered": [43, [[5, [b"eve"]], [0, []], True]],
    "an error that sets attributes": [41, [[5, [b"GetNotPermittedError"]], [5, [b""]], [0, []]]],
    "a numpy array": [8, [b"1234", [6, [1]], [5, [b"int32"]]]],
    "every type code there is": None,
}


@pytest.mark.parametrize("name", BLOBS)
def test_what_could_act_is_refused_before_it_is_built(bob: LocalNode, name: str) -> None:
    blobs = [BLOBS[name]] if BLOBS[name] is not None else [[code, []] for code in range(100)]

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            for blob in blobs:
                for values in (blob, [53, [[5, [b"train"]], [6, [blob]]]]):
                    why = error(await peer.ask(wire(values)))
                    assert isinstance(why, NodeFailed)
                    assert "malformed" in why.fact or "does not answer" in why.fact

    run(session())
    report("a TorchScript blob, a plan, a worker", "not run here", "refused before it is built")


def test_a_pickle_is_never_opened(bob: LocalNode, tmp_path: Path) -> None:
    mark = tmp_path / "was here"

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            why = error(await peer.ask(wire(pickled_tensor(mark))))
            assert "a tensor is not (dtype, requires_grad, shape, bytes)" in str(why)
            hidden = WorkerCommandMessage("train", ((), {"recipe": pickle.dumps(Touch(mark))}, []))
            assert "recipe" in str(error(await peer.ask(wire(simple(hidden, me())))))

    run(session())
    assert not mark.exists()


def test_pysyfts_own_worker_runs_the_pickles_code(stock: StockWorker, tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    stock.ask_bytes(wire(pickled_tensor(mark)))
    assert mark.exists()
    report("a pickled tensor", "any code of the attacker's runs", "malformed, never unpickled")
