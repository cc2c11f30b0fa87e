"""Shares of nodes without a socket: what is computed on them, worked out by whole numbers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from shared.errors import UsageError
from shared.pysyft import make_hook, sharing, sy
from shared.pysyft.sharing import holders
from tests.helpers.nodes_here import sharing_here

RING = 2**64
X, Y = [[3, -4, 2**62], [5, 0, -1]], [[-7, 2, 4], [2**40, 1, -(2**63)]]


@pytest.fixture(scope="module")
def us() -> Iterator[list[Any]]:
    with sharing_here() as opened:
        yield opened


def shared(us: list[Any], values: Any, *places: int, provider: bool = True) -> Any:
    """Shares at bob and anne, or at those of these places; triples of carol's, or made here."""
    tensor: Any = torch.tensor(values)
    at = [us[place] for place in (places or (0, 1))]
    options = {"crypto_provider": us[2]} if provider else {}
    return tensor.share(*at, dtype="long", **options)


def signed(number: int) -> int:
    """A whole number as the ring has it."""
    return (number + RING // 2) % RING - RING // 2


def each(x: Any, y: Any, operation: Any) -> Any:
    return [
        [signed(operation(a, b)) for a, b in zip(row, other, strict=True)]
        for row, other in zip(x, y, strict=True)
    ]


@pytest.mark.parametrize("provider", [True, False], ids=["carol's triples", "made here"])
@pytest.mark.parametrize("places", [(0, 1), (0, 1, 2)], ids=["two", "three"])
def test_products_are_those_of_the_ring(
    us: list[Any], places: tuple[int, ...], provider: bool
) -> None:
    x, y = (shared(us, one, *places, provider=provider) for one in (X, Y))
    found = x * y
    assert found.shape == torch.Size([2, 3])
    assert found.get().tolist() == each(X, Y, lambda a, b: a * b)
    x, y = (shared(us, one, *places, provider=provider) for one in (X, list(zip(*Y, strict=True))))
    product = x @ y
    assert product.shape == torch.Size([2, 2])
    assert product.get().tolist() == [
        [signed(sum(a * b for a, b in zip(row, other, strict=True))) for other in Y] for row in X
    ]


def test_a_row_is_multiplied_with_a_column(us: list[Any]) -> None:
    found = shared(us, [[2], [3]]) * shared(us, [[5, -7]])
    assert found.get().tolist() == [[10, -14], [15, -21]]
    assert (shared(us, 6) * shared(us, 7)).get().tolist() == 42


EXTREMES = [0, 1, -1, 2**62, -(2**62), 2**63 - 1, -(2**63), 2**32, -(2**32) - 1, 5, -5]


@pytest.mark.parametrize("provider", [True, False], ids=["carol's masks", "made here"])
@pytest.mark.parametrize("places", [(0, 1), (0, 1, 2)], ids=["two", "three"])
def test_signs_are_found_over_the_whole_ring(
    us: list[Any], places: tuple[int, ...], provider: bool
) -> None:
    one = shared(us, EXTREMES, *places, provider=provider)
    found = (one >= 0).get()
    assert found.tolist() == [int(number >= 0) for number in EXTREMES]


def test_signs_are_right_whatever_the_mask_is(us: list[Any]) -> None:
    """Each number is hidden by another mask, so that carries of every length are met."""
    numbers = [3, -3] * 40
    for _ in range(3):
        assert (shared(us, numbers) >= 0).get().tolist() == [1, 0] * 40


def test_a_comparison_has_the_shape_of_what_was_compared(us: list[Any]) -> None:
    found = shared(us, [[[1], [-2]]]) >= 0
    assert found.shape == torch.Size([1, 2, 1])
    assert found.get().tolist() == [[[1], [0]]]


def test_what_everybody_knows_is_multiplied_and_divided_by(us: list[Any]) -> None:
    one = shared(us, [6, -8])
    assert (one * torch.tensor([3, 5])).get().tolist() == [18, -40]
    assert (one * 4).get().tolist() == [24, -32]
    halves = (one / 2).get().tolist()
    assert all(abs(a - b) <= 1 for a, b in zip(halves, [3, -4], strict=True))
    halves = (one / torch.tensor(2)).get().tolist()
    assert all(abs(a - b) <= 1 for a, b in zip(halves, [3, -4], strict=True))
    with pytest.raises(UsageError, match="divided by one number"):
        one / torch.tensor([2, 2])


def test_shares_of_three_are_not_divided_and_two_are(us: list[Any]) -> None:
    with pytest.raises(UsageError, match="more than two nodes cannot be divided"):
        shared(us, [6], 0, 1, 2) / 2


def test_factors_of_other_holders_or_another_ring_are_refused(us: list[Any]) -> None:
    for other in (shared(us, [1], 0, 2), shared(us, [1], 1, 0)):
        with pytest.raises(UsageError, match="between the same nodes"):
            shared(us, [1]) * other
    plain: Any = torch.tensor([3])
    ints = plain.share(us[0], us[1], dtype="int", crypto_provider=us[2])
    other = shared(us, [1])
    attempts: list[Callable[[], Any]] = [
        lambda: ints * ints,
        lambda: other * ints,
        lambda: ints >= 0,
    ]
    sent = [len(one.link.sent) for one in us]
    for attempt in attempts:
        with pytest.raises(UsageError, match="dtype 'long'"):
            attempt()
    assert [len(one.link.sent) for one in us] == sent  # before anything of it was opened
    with pytest.raises(UsageError, match=r"no product of tensors \(2,\) and \(3,\)"):
        shared(us, [1, 2]) * shared(us, [1, 2, 3])


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_what_is_at_a_node_is_cut_into_shares_there(us: list[Any], number: int) -> None:
    bob = us[0]
    secret = torch.tensor([7, -9, 2**63 - 1])
    for _ in range(2):
        sent = sharing.send(secret.clone(), bob)
        values = sharing.fetch_all(holders.split_at(sent, torch.Size([3]), number))
        assert len(values) == number
        totals = [
            signed(sum(numbers)) for numbers in zip(*(v.tolist() for v in values), strict=True)
        ]
        assert totals == secret.tolist()
        if number > 1:
            assert all((one != secret).all() for one in values)


def test_objects_are_fetched_in_the_order_that_was_asked_for(us: list[Any]) -> None:
    bob, anne, _ = us
    tensors = [sharing.send(torch.tensor([n]), us[n % 3]) for n in range(7)]
    assert [one.tolist() for one in sharing.fetch_all(tensors)] == [[n] for n in range(7)]
    assert sharing.fetch_all([]) == []
    x, y = shared(us, [1, 2]), shared(us, [30, 40])
    opened = holders.open_shares(x.child, y.child)
    values = [
        [(one.child.location.id, sharing.fetch_all([one])[0].tolist()) for one in some]
        for some in opened
    ]
    assert values == [
        [(bob.id, [1, 2]), (anne.id, [1, 2])],
        [(bob.id, [30, 40]), (anne.id, [30, 40])],
    ]


def test_an_operation_runs_at_a_node_with_what_is_there_and_numbers(us: list[Any]) -> None:
    x, y = (sharing.send(torch.tensor(one), us[0]) for one in ([1, 2], [30, 40]))
    total = sharing.run_with(us[0], "__add__", torch.Size([2]), x, y)
    assert total.shape == torch.Size([2])
    column = sharing.run_with(us[0], "reshape", None, total, ("t", 2, 1))
    assert column.shape == torch.Size([2, 1])
    assert sharing.fetch_all([column])[0].tolist() == [[31], [42]]


def test_what_was_fetched_is_not_deleted_once_more(us: list[Any]) -> None:
    sent = sharing.send(torch.tensor([1]), us[0])
    gc.collect()
    us[0].wait()
    sharing.fetch_all([sent])
    del sent
    gc.collect()
    assert not us[0].stream._deleted


def test_what_is_sent_is_at_the_node_with_its_shape(us: list[Any]) -> None:
    sent = sharing.send(torch.tensor([[1, 2, 3]]), us[1])
    assert sent.child.location is us[1]
    assert sent.shape == torch.Size([1, 3])
    assert sharing.fetch_all([sent])[0].tolist() == [[1, 2, 3]]


def test_nothing_is_left_at_the_nodes(us: list[Any]) -> None:
    gc.collect()
    before = [one.objects_count_remote() for one in us]
    x, y = shared(us, X), shared(us, Y)
    (x * y + (x >= 0)).get()
    del x, y
    gc.collect()
    assert [one.objects_count_remote() for one in us] == before


def test_a_factor_at_nodes_and_one_at_pysyfts_own_workers_have_no_product(us: list[Any]) -> None:
    ours = [sy.VirtualWorker(make_hook(), id=f"own-{number}") for number in range(3)]
    plain: Any = torch.tensor([3, -4])
    elsewhere = plain.share(*ours[:2], crypto_provider=ours[2], dtype="long")
    there = shared(us, [1, 2])
    attempts: list[Callable[[], Any]] = [lambda: there * elsewhere, lambda: elsewhere * there]
    for attempt in attempts:
        with pytest.raises(UsageError, match="between the same nodes"):
            attempt()


def test_a_fixed_number_that_everybody_knows_is_multiplied_and_scaled_back(us: list[Any]) -> None:
    secret: Any = torch.tensor([1.5, -2.0])
    known: Any = torch.tensor([2.0, 0.25])
    fixed = secret.fix_precision().share(us[0], us[1], crypto_provider=us[2])
    found = (fixed * known.fix_precision()).get().float_precision()
    assert torch.allclose(found, secret * known, atol=0.002)


@pytest.mark.filterwarnings("ignore:Use dtype instead of field")
def test_between_pysyfts_own_workers_all_is_as_ever() -> None:
    ours = [sy.VirtualWorker(make_hook(), id=f"here-{number}") for number in range(3)]
    tensor: Any = torch.tensor([3, -4])
    one = tensor.share(*ours[:2], crypto_provider=ours[2], dtype="long")
    assert not holders.at_nodes(one.child)
    assert (one * 2).get().tolist() == [6, -8]
    assert (one * one).get().tolist() == [9, 16]
    assert (one >= 0).get().tolist() == [1, 0]
    assert sharing.fetch_all([sharing.send(torch.tensor([5]), ours[0])])[0].tolist() == [5]
