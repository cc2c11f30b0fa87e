"""What masks a sealed session draws, how much it does at most, and what it cannot read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import NodeFailed
from shared.pointers.field_numbers import uniform
from shared.pysyft import make_hook
from tests.helpers.sealed import Parties, parties_of, split, whole_of
from worker_node.pointers import sealed_operations as module
from worker_node.pointers.sealed_operations import _digits, _result_shape, _shape

IDS = np.array([[1, 63, 0], [17, 16, 1]])
WHOLE_RING = (-(2**63), 2**63 - 1)
Drawn = list[tuple[tuple[int, ...], tuple[int, int]]]


@pytest.fixture(autouse=True)
def hooked() -> None:
    make_hook()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """What was drawn: shape, lowest and highest number."""
    asked: Drawn = []

    def noted(shape: tuple[int, ...], low: int, high: int) -> Any:
        asked.append((tuple(shape), (low, high)))
        return uniform(shape, low, high)

    monkeypatch.setattr(module, "uniform", noted)
    return asked


def test_triples_and_their_shares_are_of_the_whole_ring(drawn: Drawn) -> None:
    us = parties_of()
    us.ask("carol", "triple", "matmul", (2, 3), (3, 4))
    factors, product = [(2, 3), (3, 4)], (2, 4)
    assert [shape for shape, _ in drawn] == [*factors, *factors, product]
    assert {bounds for _, bounds in drawn} == {WHOLE_RING}


@pytest.mark.parametrize(("which", "shape"), [("low", (6, 16)), ("high", (6, 4))])
def test_messages_are_hidden_by_numbers_of_the_whole_ring(
    drawn: Drawn, which: str, shape: tuple[int, ...]
) -> None:
    parties_of(ids=IDS).ask("bob", "rows", 0, 2, 16, which)
    assert drawn == [(shape, WHOLE_RING)]


def begun(us: Parties, number: int) -> list[Any]:
    """So many products at both holders; what each told the other one."""
    told = []
    for _ in range(number):
        packets = us.packets("carol", "triple", "mul", (1,), (1,))
        x, y = split([3]), split([5])
        told.append(
            [
                us.ask(holder, "mask", a, b, packet, "mul")
                for holder, a, b, packet in zip(us.context.holders, x, y, packets, strict=True)
            ]
        )
    return told


def test_64_products_may_be_begun_at_once_and_end_in_their_order() -> None:
    us = parties_of()
    told = begun(us, 64)
    with pytest.raises(NodeFailed, match="too many products"):
        begun(us, 1)
    for first, second in told:
        shares = [us.ask("bob", "product", second), us.ask("anne", "product", first)]
        assert whole_of(shares) == [15]
    with pytest.raises(NodeFailed, match="no product that was begun"):
        us.ask("bob", "product", told[0][1])


@pytest.mark.parametrize("low", [2, 3, 64, 128])
def test_any_base_from_2_on_cuts_words_into_digits(low: int) -> None:
    words = IDS.ravel()
    for which, digits, number in (
        ("low", words % low, low),
        ("high", words // low, len(range(0, 64, low))),
    ):
        us = parties_of(ids=IDS)
        shape = (6, number) if which == "low" else (6, 1, number)
        shares = [
            us.ask(holder, "take", packet, which, shape)
            for holder, packet in zip(
                us.context.holders, us.packets("bob", "rows", 0, 2, low, which), strict=True
            )
        ]
        ones = np.zeros((6, number), np.int64)
        ones[range(6), digits] = 1
        assert np.array(whole_of(shares)).reshape(6, number).tolist() == ones.tolist()


@pytest.mark.parametrize("low", [1, 0, -2, True, 16.0, None])
def test_other_bases_are_none(low: Any) -> None:
    with pytest.raises((NodeFailed, TypeError)):
        parties_of(ids=IDS).ask("bob", "rows", 0, 2, low, "low")


def test_digits_are_low_or_high() -> None:
    with pytest.raises(NodeFailed, match="low or high"):
        parties_of(ids=IDS).ask("bob", "rows", 0, 2, 16, "middle")
    assert _digits(np.array([5]), 2, "high", 65)[1] == 33
    assert _digits(np.array([5]), 2, "high", 64)[1] == 32


def test_one_result_has_so_many_numbers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _shape((2**12, 2**12)) == (2**12, 2**12)
    for sizes in ((2**24 + 1,), (2**12, 2**12 + 1), (2**40, 2**40)):
        with pytest.raises(NodeFailed, match=r"more than 16,777,216 numbers"):
            _shape(sizes)
    monkeypatch.setattr(module, "MAX_NUMBERS", 96)
    us = parties_of(ids=IDS)
    us.ask("bob", "rows", 0, 2, 16, "low")
    for low in (17, 2**21):
        with pytest.raises(NodeFailed, match="too many messages at once"):
            us.ask("bob", "rows", 0, 2, low, "low")
    us.ask("carol", "triple", "mul", (96,), (96,))
    with pytest.raises(NodeFailed, match="more than 96 numbers"):
        us.ask("carol", "triple", "mul", (97,), (97,))
    with pytest.raises(NodeFailed, match="more than 96 numbers"):
        us.ask("carol", "triple", "mul", (10, 1), (1, 10))


@pytest.mark.parametrize("sizes", [[2, 3], 5, "ab", (2, -1), (2.0,), (True,), (None,), ("t", 2)])
def test_a_shape_is_a_tuple_of_sizes(sizes: Any) -> None:
    us = parties_of(ids=IDS)
    for attempt in (("mul", sizes, (1,)), ("mul", (1,), sizes)):
        with pytest.raises(NodeFailed, match="a shape is a tuple of sizes"):
            us.ask("carol", "triple", *attempt)
    packet, _ = us.packets("bob", "rows", 0, 2, 16, "low")
    with pytest.raises(NodeFailed, match="a shape is a tuple of sizes"):
        us.ask("bob", "take", packet, "low", sizes)


@pytest.mark.parametrize(
    ("product", "x", "y", "shape"),
    [
        ("mul", (2, 3), (2, 3), (2, 3)),
        ("mul", (2, 1), (3,), (2, 3)),
        ("matmul", (2, 3), (3, 4), (2, 4)),
        ("matmul", (5, 2, 3), (3, 4), (5, 2, 4)),
        ("mul", (2, 3), (3, 2), None),
        ("matmul", (2, 3), (2, 3), None),
        ("matmul", (), (2,), None),
    ],
)
def test_a_product_has_the_shape_of_plain_tensors(
    product: str, x: tuple[int, ...], y: tuple[int, ...], shape: tuple[int, ...] | None
) -> None:
    us = parties_of()
    if shape is None:
        with pytest.raises(NodeFailed, match="no product of tensors of these shapes"):
            us.ask("carol", "triple", product, x, y)
        return
    assert _result_shape(product, x, y) == shape
    packet = us.packets("carol", "triple", product, x, y)[0]
    numbers = sum(int(np.prod(one)) for one in (x, y, shape))
    assert packet.numel() == 8 * numbers + 16


def test_products_are_mul_or_matmul() -> None:
    with pytest.raises(NodeFailed, match="products are mul or matmul"):
        parties_of().ask("carol", "triple", "div", (2, 2), (2, 2))


@pytest.mark.parametrize("length", [0, 8, 8 * 15, 8 * 17])
def test_what_is_sealed_has_the_size_of_what_it_is(length: int) -> None:
    """Of a node that seals well and other numbers than it says."""
    us = parties_of(ids=IDS)
    sealed = us.seals["bob"].seal("anne", "message", ("low", (1, 16)), bytes(length))
    packet: Any = torch.tensor(list(sealed), dtype=torch.uint8)
    with pytest.raises(NodeFailed, match="of another size"):
        us.ask("anne", "take", packet, "low", (1, 16))


@pytest.mark.parametrize("packet", [None, 5, "x", [1, 2]])
def test_what_is_no_tensor_of_bytes_is_not_opened(packet: Any) -> None:
    us = parties_of(ids=IDS)
    begun(us, 1)
    for one in (packet, torch.tensor([1]), torch.tensor([1.0])):
        for who, name, arguments in (
            ("anne", "take", (one, "low", (1, 16))),
            ("anne", "product", (one,)),
            ("bob", "learn", (one, one, 0, 1, 1)),
        ):
            begun(us, 1)
            with pytest.raises(NodeFailed, match="is a tensor of bytes"):
                us.ask(who, name, *arguments)


@pytest.mark.parametrize("share", [None, 5, "x"])
def test_shares_are_whole_numbers(share: Any) -> None:
    us = parties_of(ids=IDS)
    packet, _ = us.packets("carol", "triple", "mul", (1,), (1,))
    good: Any = torch.tensor([1])
    for one in (share, torch.tensor([1.0]), torch.tensor([1], dtype=torch.uint8)):
        for x, y in ((one, good), (good, one)):
            with pytest.raises(NodeFailed, match="int64"):
                us.ask("bob", "mask", x, y, packet, "mul")
        with pytest.raises(NodeFailed, match="int64"):
            us.ask("bob", "reveal", one)
    us.ask("bob", "mask", good, good, packet, "mul")  # none of it used the triple up


def test_of_scores_that_are_told_ten_bits_each_are_paid() -> None:
    us = parties_of(ids=IDS, tells=True)
    sealed = [
        us.ask(holder, "reveal", share)
        for holder, share in zip(us.context.holders, split([[3], [-(2**40)]]), strict=True)
    ]
    told = us.ask("bob", "learn", *sealed, 0, 2, 3)
    assert us.paid == [20]
    assert told.tolist() == [731, 0]
    ((first, spam),) = us.learned
    assert first == 0
    assert spam == pytest.approx([1 / (1 + np.exp(-1.0)), 0.0])
    assert us.operations["bob"].may_leave(told)
    assert not us.operations["bob"].may_leave(torch.tensor([1]))
