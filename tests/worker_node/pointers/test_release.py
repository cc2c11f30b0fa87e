"""The one way out of a pointer session, its prices, and the moments at which answers leave."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shared.errors import NodeFailed, PolicyRefused
from shared.pointers.frames import Item
from shared.pointers.tensor_operations import OPERATIONS, Gives
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.guarding.rules.pointers import BITS_A_NUMBER, PointerBounds
from worker_node.pointers.program import Command, Step, bits
from worker_node.pointers.release import ANSWER_BITS, Asked, Origin, Withheld, price, release
from worker_node.pointers.ticks import MOMENTS, moment_after


def graph() -> Any:
    """A tensor with a history, a gradient and tags."""
    weight: Any = torch.ones(2, 3, requires_grad=True)
    (weight * 3).sum().backward()
    return weight


@pytest.mark.parametrize("origin", [Origin.OWN, Origin.PARAMETER, Origin.GRADIENT])
def test_values_leave_alone(origin: Origin) -> None:
    given = release(Asked.OBJECT, graph(), origin, gradients=True)
    assert given.grad is None
    assert given.grad_fn is None
    assert given.tolist() == graph().tolist()


@pytest.mark.parametrize("gradients", [True, False])
def test_of_what_is_derived_single_numbers_leave_and_without_a_shape(gradients: bool) -> None:
    number = release(Asked.OBJECT, graph()[:1, :1] * 2, Origin.DERIVED, gradients)
    assert (number.shape, number.item(), number.requires_grad) == ((), 2.0, False)
    for many in (graph(), torch.ones(0), torch.ones(1).to_sparse()):
        with pytest.raises(Withheld):
            release(Asked.OBJECT, many, Origin.DERIVED, gradients)


@pytest.mark.parametrize("origin", [Origin.PARAMETER, Origin.GRADIENT])
def test_parameters_and_gradients_stay_where_the_policy_says_so(origin: Origin) -> None:
    with pytest.raises(Withheld, match=r"pointers\.gradients"):
        release(Asked.OBJECT, graph(), origin, gradients=False)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_owners_rows_stay(gradients: bool) -> None:
    with pytest.raises(Withheld, match="rows do not leave"):
        release(Asked.OBJECT, torch.ones(1), Origin.OWNERS, gradients)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Asked.SIZES, [1] * 9),
        (Asked.SIZES, [2**32]),
        (Asked.SIZES, "float32"),
        (Asked.SIZES, -1),
        (Asked.RESULTS, range(2**16)),
        (Asked.SCORES, torch.ones(11)),
    ],
)
def test_what_is_more_than_was_paid_for_is_not_told(asked: Asked, found: Any) -> None:
    with pytest.raises(NodeFailed, match="more than a node tells"):
        release(asked, found, Origin.DERIVED, gradients=False, rows=10)
    assert release(asked, found, Origin.OWN, gradients=False, rows=10) is found


def test_a_number_fetched_alone_is_one_of_the_policys() -> None:
    assert bits([Step(Item.FETCH, 5)], wants_answer=True) == BITS_A_NUMBER
    assert bits([Step(Item.FETCH, 5)], wants_answer=False) == ANSWER_BITS


def test_every_operation_that_is_answered_has_a_price() -> None:
    for gives in Gives:
        asked: Any = type("Operation", (), {"gives": gives})()
        step = Step(Item.COMMANDS, [Command(asked, (), 0)] * 3)
        known = {Gives.VALUE: Asked.SIZES, Gives.MANY: Asked.RESULTS}
        paid = 3 * price(known[gives], 0) if gives in known else 0
        assert bits([step], wants_answer=True) == ANSWER_BITS + paid
    assert set(OPERATIONS.values()) == set(Gives)


def test_bits_are_counted_in_numbers_up_to_the_last() -> None:
    guard = Guard(Policy(pointers=PointerBounds(gradients=False, numbers=100)))
    for _ in range(100 * BITS_A_NUMBER // 4):
        guard.take_bits(4)
    with pytest.raises(PolicyRefused, match=r"rule pointers\.numbers"):
        guard.take_bits(1)


def test_what_is_too_much_at_once_leaves_the_rest_of_the_day() -> None:
    guard = Guard(Policy(pointers=PointerBounds(gradients=False, numbers=3)))
    with pytest.raises(PolicyRefused):
        guard.take_bits(3 * BITS_A_NUMBER + 1)
    guard.take_bits(3 * BITS_A_NUMBER)


def test_answers_leave_at_one_of_eight_moments() -> None:
    moments = {moment_after(number / 1000, 30.0) for number in range(36_000)}
    assert len(moments) == MOMENTS == 2 ** (ANSWER_BITS - 1)
    assert all(moment_after(one, 30.0) == one for one in moments)
    assert min(moments) < 0.02
    assert max(moments) > 30.0
    assert moment_after(100.0, 30.0) >= 100.0
