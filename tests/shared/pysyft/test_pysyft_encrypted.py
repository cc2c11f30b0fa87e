"""Shared networks of PySyft's, between workers of this process, held against plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from shared import pysyft

pytestmark = [  # PySyft warns of what it does itself
    pytest.mark.filterwarnings("ignore:Use dtype instead of field"),
    pytest.mark.filterwarnings("ignore:Default args selected"),
]
STEPS = 2
TOLERANCE = 0.01  # three decimal digits are kept, and each product rounds


@pytest.fixture(scope="module")
def parties() -> Iterator[list[Any]]:
    """Two that hold shares, and one that gives out random numbers; they find each other by name."""
    names = ("left", "right", "dealer")
    workers = [pysyft.VirtualWorker(pysyft.make_hook(), id=name) for name in names]
    yield workers
    for worker in workers:
        pysyft.forget_worker(worker)


class ByFunction(nn.Module):
    """The same network as `by_layers`, with torch's function."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.upper(F.relu(self.lower(rows)))  # type: ignore[no-any-return]


def by_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def loss_of(network: Any, rows: Any, labels: Any) -> Any:
    return ((network(rows) - labels) ** 2).sum()


def train(network: Any, optimiser: Any, rows: Any, labels: Any) -> None:
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss_of(network, rows, labels).backward()
        optimiser.step()


@pytest.mark.parametrize("make", [by_layers, ByFunction])
def test_a_shared_network_learns_what_a_plain_one_does(
    parties: list[Any], make: Callable[[], Any]
) -> None:
    left, right, dealer = parties

    def encrypt(thing: Any) -> Any:
        whole = thing.fix_precision()
        return whole.share(left, right, crypto_provider=dealer, requires_grad=True)

    torch.manual_seed(2)
    network, plain = make(), make()
    plain.load_state_dict(network.state_dict())
    started = [parameter.detach().clone() for parameter in plain.parameters()]
    rows = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    labels = torch.tensor([[0.0], [1.0], [1.0]])
    encrypt(network)
    optimiser: Any = optim.SGD(network.parameters(), lr=0.1)
    train(network, optimiser.fix_precision(), encrypt(rows), encrypt(labels))
    train(plain, optim.SGD(plain.parameters(), lr=0.1), rows, labels)
    network.get().float_precision()
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=TOLERANCE, rtol=0)
    learned = zip(started, plain.parameters(), strict=True)
    assert max((new - old).abs().max().item() for old, new in learned) > 5 * TOLERANCE


def test_a_relu_in_place_is_refused_where_gradients_are_kept(parties: list[Any]) -> None:
    left, right, dealer = parties
    numbers: Any = torch.tensor([1.0, -1.0]).fix_precision()  # type: ignore[attr-defined]
    shared = numbers.share(left, right, crypto_provider=dealer, requires_grad=True)
    with pytest.raises(NotImplementedError, match="in place"):
        nn.ReLU(inplace=True)(shared)
