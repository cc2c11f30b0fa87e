"""PySyft's arithmetic on today's torch: remote training equals local, integers divide as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn, optim

from shared import pysyft

Optimiser = Callable[[Any], optim.Optimizer]


class Elsewhere(pysyft.VirtualWorker):
    """A worker that works in a thread of its own, where the caller's `no_grad` does not reach."""

    crypto_plans = False
    joins_registry = False

    def __init__(self, hook: Any, pool: ThreadPoolExecutor) -> None:
        super().__init__(hook=hook, id="elsewhere")
        self._pool = pool

    def _recv_msg(self, message: bytes) -> bytes:
        answer: bytes = self._pool.submit(self.recv_msg, message).result()
        return answer


@pytest.fixture
def bob() -> Iterator[Elsewhere]:
    with ThreadPoolExecutor(1) as pool:
        worker = Elsewhere(pysyft.make_hook(), pool)
        pysyft.introduce(worker)
        yield worker
        pysyft.forget_worker(worker)


def train(optimiser: Optimiser, where: Any | None) -> tuple[list[float], list[torch.Tensor]]:
    """Losses and parameters of five steps, here or on the worker `where`."""
    torch.manual_seed(3)
    model: Any = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    inputs: Any = torch.randn(16, 5)  # (rows, features)
    targets: Any = torch.randn(16, 1)
    if where is not None:
        model.send(where)
        inputs, targets = inputs.send(where), targets.send(where)
    steps = optimiser(model.parameters())
    losses = []
    for _ in range(5):
        steps.zero_grad()
        loss = ((model(inputs) - targets) ** 2).mean()
        loss.backward()
        steps.step()
        losses.append((loss.get() if where is not None else loss).item())
    if where is not None:
        model.get()
    return losses, [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda parameters: optim.SGD(parameters, lr=0.1),
        lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True),
        lambda parameters: optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda parameters: optim.Adam(parameters, lr=0.01, weight_decay=0.1),
        lambda parameters: optim.AdamW(parameters, lr=0.01),
        lambda parameters: optim.RMSprop(parameters, lr=0.01, momentum=0.9, centered=True),
        lambda parameters: optim.Adadelta(parameters, lr=0.5),
        lambda parameters: optim.Adagrad(parameters, lr=0.1),
        lambda parameters: optim.NAdam(parameters, lr=0.1),
        lambda parameters: optim.RAdam(parameters, lr=0.1),
        lambda parameters: optim.ASGD(parameters, lr=0.1),
    ],
    ids=[
        "sgd",
        "nesterov",
        "momentum",
        "adam",
        "adamw",
        "rmsprop",
        "adadelta",
        "adagrad",
        "nadam",
        "radam",
        "asgd",
    ],
)
def test_training_elsewhere_equals_training_here_to_the_last_bit(
    bob: Elsewhere, optimiser: Optimiser
) -> None:
    here, there = train(optimiser, None), train(optimiser, bob)
    assert there[0] == here[0]
    for remote, local in zip(there[1], here[1], strict=True):
        assert torch.equal(remote, local)
    assert here[0][-1] < here[0][0]


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda parameters: optim.Adamax(parameters, lr=0.1),
        lambda parameters: optim.Adam(parameters, lr=0.1, amsgrad=True),
    ],
    ids=["adamax", "amsgrad"],
)
def test_an_optimiser_that_would_go_wrong_elsewhere_says_so(
    bob: Elsewhere, optimiser: Optimiser
) -> None:
    with pytest.raises(NotImplementedError, match="use one of adadelta"):
        train(optimiser, bob)


def test_zero_grad_of_a_module_empties_its_remote_gradients(bob: Elsewhere) -> None:
    model: Any = nn.Linear(3, 1)
    model.send(bob)
    inputs: Any = torch.ones(2, 3)
    model(inputs.send(bob)).sum().backward()
    model.zero_grad()
    assert model.weight.grad.copy().get().tolist() == [[0, 0, 0]]


def test_nothing_is_left_on_the_worker_once_the_pointers_are_gone(bob: Elsewhere) -> None:
    train(lambda parameters: optim.SGD(parameters, lr=0.1), bob)
    assert len(bob._objects) <= 8  # of the last step, that a frame still holds


@pytest.mark.parametrize("parts", [2, 3, 6])
def test_an_operation_with_many_results_gives_as_many_pointers(bob: Elsewhere, parts: int) -> None:
    numbers: Any = torch.arange(12).reshape(2, 6)
    there = numbers.send(bob).chunk(parts, 1)
    here = numbers.chunk(parts, 1)
    assert [part.get().tolist() for part in there] == [part.tolist() for part in here]


@given(st.integers(-(10**6), 10**6), st.integers(1, 50), st.sampled_from([1, -1]))
def test_fixed_precision_divides_towards_zero(value: int, divisor: int, sign: int) -> None:
    pysyft.make_hook()
    number: Any = torch.tensor([value / 1000], dtype=torch.float64)
    fixed = number.fix_prec()  # three decimals
    quotient = (fixed / (divisor * sign)).float_prec()
    units = int(float(number) * 1000)
    assert quotient.item() == pytest.approx(_towards_zero(units, divisor * sign) / 1000)


def _towards_zero(value: int, divisor: int) -> int:
    return abs(value) // abs(divisor) * (1 if (value < 0) == (divisor < 0) else -1)


def test_shares_keep_more_bits_than_a_float_has() -> None:
    hook = pysyft.make_hook()
    workers = [pysyft.VirtualWorker(hook, id=f"holder {index}") for index in range(3)]
    secret: Any = torch.tensor([2**40 + 6, -(2**40) - 6])
    shared = secret.share(*workers[:2], crypto_provider=workers[2], dtype="long")
    halves = (shared / 2).get()
    for worker in workers:
        pysyft.forget_worker(worker)
    # each share rounds for itself, so the last bit may be off
    assert (halves - torch.tensor([2**39 + 3, -(2**39) - 3])).abs().max() <= 1


def test_a_hooked_module_can_be_traced() -> None:
    pysyft.make_hook()
    model, inputs = nn.Linear(2, 1), torch.ones(1, 2)
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        traced = torch.jit.trace(model, inputs)  # type: ignore[no-untyped-call]
    assert torch.equal(traced(inputs), model(inputs))
