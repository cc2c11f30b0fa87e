"""Code inside a message: a pickled tensor, a TorchScript blob, a plan, and objects that act."""

from __future__ import annotations

import io
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.local.nodes import LocalNode
from shared.errors import NodeFailed
from shared.pysyft import ObjectMessage, WorkerCommandMessage
from tests.attacks.scene import StockWorker, me, report
from tests.helpers.node_requests import error, run
from tests.helpers.peers import coordinator
from tests.helpers.pysyft_messages import simple, wire


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


class Answer(torch.nn.Module):
    """What an attacker wants computed on somebody else's machine."""

    def forward(self) -> int:
        return 42


def torchscript() -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is what the attacker has
        torch.jit.save(torch.jit.script(Answer()), made)
    return made.getvalue()


def command_with(blob: Any) -> Any:
    """A command whose second argument is whatever is given, as plain values."""
    values = simple(WorkerCommandMessage("__setattr__", (("mine", "blob"), {}, [])), me())
    values[1][1][1][0][1][1] = blob
    return values


BLOBS: dict[str, Any] = {
    "a TorchScript blob": [12, [torchscript()]],
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
                for values in (blob, [53, [[5, [b"train"]], [6, [blob]]]], command_with(blob)):
                    why = error(await peer.ask(wire(values)))
                    assert isinstance(why, NodeFailed)
                    assert re.search("malformed|does not answer|knows no command", why.fact)

    run(session())
    report("a plan, or a worker to be made", "not run here", "refused before it is built")


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


def test_pysyfts_own_worker_builds_and_runs_torchscript(stock: StockWorker) -> None:
    stock.ask_bytes(wire(command_with([12, [torchscript()]])))
    assert stock.command("mine") == 42
    report("a TorchScript blob", "its code runs", "refused before it is built")
