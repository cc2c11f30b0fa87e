"""What docs/pysyft.md says does not work, and its examples do not show: it does not.

The day one of these works, the page is wrong.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn, optim

from shared import pysyft
from shared.pysyft import sy


class Quiet(pysyft.VirtualWorker):
    crypto_plans = False
    joins_registry = False


@pytest.fixture
def bob() -> Iterator[Any]:
    worker = Quiet(pysyft.make_hook(), id="bob")
    pysyft.introduce(worker)
    yield worker
    pysyft.forget_worker(worker)


def test_the_sandbox_has_no_data_any_more() -> None:
    with pytest.raises(ImportError, match="load_boston"):
        sy.create_sandbox({"torch": torch}, verbose=False)


def test_protocols_have_neither_deploy_nor_plans_of_their_own() -> None:
    assert not hasattr(sy.Protocol, "deploy")
    assert not hasattr(sy.Plan, "add_to_state")


def test_a_model_that_was_sent_is_not_copied(bob: Any) -> None:
    model: Any = nn.Linear(2, 1)
    model.send(bob)
    with pytest.raises(TypeError, match="memory_format"):
        model.copy()
    model.get()


@pytest.mark.parametrize(
    "optimiser",
    [optim.Adamax, optim.Rprop, lambda parameters: optim.Adam(parameters, amsgrad=True)],
)
def test_optimisers_that_write_into_given_tensors_are_refused(bob: Any, optimiser: Any) -> None:
    model: Any = nn.Linear(2, 1)
    model.send(bob)
    rows: Any = torch.ones(1, 2)
    model(rows.send(bob)).sum().backward()
    with pytest.raises(NotImplementedError, match="remote parameters cannot be trained"):
        optimiser(model.parameters()).step()
    model.get()


@pytest.mark.parametrize("layer", [nn.GRU, nn.LSTM, nn.RNN])
def test_fused_recurrent_layers_take_no_pointers(bob: Any, layer: Any) -> None:
    network, rows = layer(3, 4), torch.randn(5, 2, 3)  # (time, rows, features)
    network.send(bob)
    with pytest.raises(IndexError, match="Dimension out of range"):
        network(rows.send(bob))  # type: ignore[attr-defined]
    network.get()


@pytest.mark.filterwarnings("ignore:coroutine '_serve' was never awaited")
def test_the_stock_server_does_not_start_where_a_loop_runs_already() -> None:
    async def cell() -> None:
        worker = sy.WebsocketServerWorker(pysyft.make_hook(), "127.0.0.1", 0, id="zed")
        pysyft.forget_worker(worker)
        with pytest.raises(RuntimeError, match="event loop is already running"):
            worker.start()
        worker.loop.close()

    asyncio.run(cell())


def test_federated_avg_changes_what_it_is_given() -> None:
    average: Any = importlib.import_module("syft.frameworks.torch.fl.utils").federated_avg
    torch.manual_seed(1)
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    before = first.weight.detach().clone()
    assert average({"a": first, "b": second}).weight is first.weight
    assert torch.allclose(first.weight, (before + second.weight) / 2)
    assert not torch.equal(first.weight, before)
