"""Pointers to attributes, split networks and Plans: what they give, held against plain torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.nn import functional as F  # noqa: N812  # the field's name for it

from shared import pysyft

Two = tuple[pysyft.VirtualWorker, pysyft.VirtualWorker]


class Quiet(pysyft.VirtualWorker):
    crypto_plans = False
    joins_registry = False


@pytest.fixture
def two() -> Iterator[Two]:
    """bob and anne, who know each other."""
    hook = pysyft.make_hook()
    bob, anne = Quiet(hook, id="bob"), Quiet(hook, id="anne")
    pysyft.introduce(bob)
    pysyft.introduce(anne)
    bob._known_workers["anne"], anne._known_workers["bob"] = anne, bob
    yield bob, anne
    pysyft.forget_worker(bob)
    pysyft.forget_worker(anne)


def squares(bob: Any) -> Any:
    """A tensor with bob whose gradient is twice itself."""
    numbers: Any = torch.tensor([1.0, 3.0], requires_grad=True)
    x = numbers.send(bob)
    (x * x).sum().backward()
    return x


def test_a_copy_of_a_gradient_is_the_gradient_and_leaves_the_tensor(two: Two) -> None:
    x = squares(two[0])
    assert x.grad.clone().get().tolist() == [2.0, 6.0]
    assert x.grad.clone().clone().get().tolist() == [2.0, 6.0]
    assert x.copy().get().tolist() == [1.0, 3.0]


def test_a_copy_of_a_gradient_does_not_change_with_it(two: Two) -> None:
    x = squares(two[0])
    taken = x.grad.clone()
    x.grad.zero_()
    assert taken.get().tolist() == [2.0, 6.0]
    assert x.grad.clone().get().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("attribute", "values"), [("grad", [2.0, 6.0]), ("data", [1.0, 3.0])])
def test_what_moves_is_the_attribute(two: Two, attribute: str, values: list[float]) -> None:
    x = squares(two[0])
    moved = getattr(x, attribute).move(two[1])
    assert moved.location is two[1]
    assert moved.get().tolist() == values


def test_a_pointer_to_a_whole_tensor_is_cloned_without_a_message(two: Two) -> None:
    bob = two[0]
    numbers: Any = torch.tensor([1.0, 3.0])
    x = numbers.send(bob)
    held = len(bob._objects)
    assert x.clone().id_at_location == x.id_at_location
    assert len(bob._objects) == held


def test_copies_of_gradients_do_not_pile_up(two: Two) -> None:
    bob = two[0]
    x = squares(bob)
    held = len(bob._objects)
    for _ in range(5):
        x.grad.clone()
    assert len(bob._objects) == held


class Halves:
    """A network whose first half is with one worker and whose second is with the other."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        self.lower: Any = nn.Sequential(nn.Linear(6, 4), nn.Tanh())
        self.upper: Any = nn.Linear(4, 2)
        self.inputs: Any = torch.randn(12, 6)  # (rows, features)
        self.labels: Any = torch.randint(0, 2, (12,))

    def optimisers(self) -> list[optim.Optimizer]:
        return [optim.SGD(half.parameters(), lr=0.3) for half in (self.lower, self.upper)]

    def send(self, lower: Any, upper: Any) -> None:
        self.lower.send(lower)
        self.upper.send(upper)
        self.inputs, self.labels = self.inputs.send(lower), self.labels.send(upper)

    def parameters(self) -> list[torch.Tensor]:
        return [*self.lower.parameters(), *self.upper.parameters()]


def plain_losses(halves: Halves, steps: int) -> list[float]:
    optimisers, losses = halves.optimisers(), []
    for _ in range(steps):
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss = F.cross_entropy(halves.upper(halves.lower(halves.inputs)), halves.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "taken", [lambda grad: grad, lambda grad: grad.clone(), lambda g: g.copy()]
)
def test_a_split_network_learns_what_the_whole_one_does(
    two: Two, taken: Callable[[Any], Any]
) -> None:
    split = Halves()
    whole = copy.deepcopy(split)
    expected = plain_losses(whole, 4)
    split.send(*two)
    optimisers, losses = split.optimisers(), []
    for _ in range(4):
        for optimiser in optimisers:
            optimiser.zero_grad()
        hidden = split.lower(split.inputs)
        received = hidden.detach().move(two[1]).requires_grad_()
        loss: Any = F.cross_entropy(split.upper(received), split.labels)
        loss.backward()
        hidden.backward(taken(received.grad).move(two[0]))
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.get().item())
    split.lower.get()
    split.upper.get()
    assert losses == expected
    for ours, theirs in zip(split.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # how PySyft keeps a Plan
def test_a_plan_does_the_same_here_there_and_as_torchscript(two: Two) -> None:
    me = pysyft.make_hook().local_worker
    me.is_client_worker = False
    try:

        @pysyft.sy.func2plan(args_shape=[(3,)])  # type: ignore[untyped-decorator, unused-ignore]
        def doubled(x: Any) -> Any:
            return torch.abs(x + x)

        numbers: Any = torch.tensor([-1.0, 2.0, -3.0])
        remote = doubled.send(two[0])(numbers.send(two[0])).get()
        assert doubled(numbers).tolist() == remote.tolist() == [2.0, 4.0, 6.0]
        assert doubled.torchscript(numbers).tolist() == [2.0, 4.0, 6.0]
    finally:
        me.is_client_worker = True
