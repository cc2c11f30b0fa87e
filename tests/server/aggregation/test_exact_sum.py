"""The sum that has no order: exact against Python's fractions, and the same however it is fed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.aggregation.exact_sum import LARGEST, MAX_STATES, ExactSum
from shared.model.vectors import Vector
from shared.secure_aggregation.fixed_point import MAX_ROWS, PIECE_BITS, PIECES, unit_of

numbers = st.floats(-(2.0**33), 2.0**33, width=32)
results = st.lists(
    st.tuples(st.lists(numbers, min_size=3, max_size=3), st.integers(1, 2**29 - 1)),
    min_size=1,
    max_size=12,
)


def mean(parts: list[tuple[list[float], int]]) -> Vector:
    total = ExactSum(3)
    for values, weight in parts:
        total.add(np.array(values, np.float32), weight)
    return total.mean()


@settings(deadline=None)
@given(results)
def test_the_mean_is_the_exact_one_rounded_to_the_last_bits_of_a_double(
    parts: list[tuple[list[float], int]],
) -> None:
    weight = sum(rows for _, rows in parts)
    found = mean(parts)
    for place in range(3):
        products = [Fraction(values[place]) * rows for values, rows in parts]
        exact = sum(products, Fraction(0)) / weight
        largest = max(abs(Fraction(values[place])) for values, _ in parts)
        # half a unit of the last place of a float32, what a double's rounding may add, and half
        # a unit of the grid for each state, which weighs 1 or more
        allowed = abs(exact) * Fraction(2) ** -24 + largest * Fraction(2) ** -48
        assert abs(Fraction(float(found[place])) - exact) <= allowed + Fraction(2) ** -37


@settings(deadline=None)
@given(results, st.randoms(use_true_random=False))
def test_no_bit_depends_on_the_order(
    parts: list[tuple[list[float], int]], random: np.random.Generator
) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert mean(shuffled).tobytes() == mean(parts).tobytes()


def test_states_of_a_real_size_give_the_same_bits_in_any_order() -> None:
    rng = np.random.default_rng(0)
    states = [rng.normal(scale=0.1, size=50_000).astype(np.float32) for _ in range(20)]
    found = set()
    for _ in range(4):
        total = ExactSum(50_000)
        for number in rng.permutation(20):
            total.add(states[number], 100 + int(number))
        found.add(total.mean().tobytes())
    assert len(found) == 1


def test_memory_does_not_grow_with_the_states() -> None:
    rng = np.random.default_rng(0)
    total = ExactSum(10_000)
    sizes = set()
    for _ in range(50):
        total.add(rng.normal(size=10_000).astype(np.float32), 7)
        sizes.add(total.nbytes)
    assert len(sizes) == 1
    assert sizes.pop() <= 5 * 8 * 10_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, LARGEST, -LARGEST])
def test_what_cannot_be_a_result_is_refused_and_leaves_no_trace(bad: float) -> None:
    total = ExactSum(2)
    total.add(np.array([1, 2], np.float32), 3)
    with pytest.raises(ValueError, match="not finite"):
        total.add(np.array([0, bad], np.float32), 3)
    with pytest.raises(ValueError, match="rows"):
        total.add(np.zeros(2, np.float32), 2**29)
    assert total.mean().tolist() == [1, 2]


def test_no_accumulator_overflows_however_many_states_there_are() -> None:
    """Each state adds less than 2^45 to a piece, so that all of them stay below 2^62."""
    rng = np.random.default_rng(3)
    state = (rng.normal(size=1000) * 2.0 ** rng.integers(-60, 33, 1000)).astype(np.float32)
    state[:2] = np.nextafter(np.float32(LARGEST), np.float32(0)), -1
    for weight in (1, 3, MAX_ROWS):
        total = ExactSum(state.size)
        total.add(state, weight)
        largest = max(int(np.abs(piece).max()) for piece in total._pieces.values())
        assert largest <= 2 ** (PIECE_BITS - 1)
    assert MAX_STATES * 2**PIECE_BITS <= 2**62


def test_results_are_counted_and_no_more_are_taken_than_fit() -> None:
    assert (MAX_STATES, LARGEST) == (2**17, 2.0**34)
    total = ExactSum(2)
    state = np.array([1, 2], np.float32)
    for number in (1, 2, 3):
        total.add(state, 5)
        assert (total.count, total.weight) == (number, 5 * number)
    total.count = MAX_STATES - 1
    total.add(state, 5)
    with pytest.raises(ValueError, match=f"more than {MAX_STATES} results"):
        total.add(state, 5)
    assert total.weight == 20


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1), (0,)])
def test_a_result_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="has shape"):
        ExactSum(2).add(np.zeros(shape, np.float32), 1)


def test_the_largest_numbers_are_taken_and_a_model_without_numbers_too() -> None:
    most = np.nextafter(np.float32(LARGEST), np.float32(0))
    for value in (most, -most):
        total = ExactSum(1)
        total.add(np.array([value], np.float32), 1)
        assert total.mean()[0] == value
    for value in (-LARGEST / 2, 0.25):  # one sign alone
        total = ExactSum(2)
        total.add(np.full(2, value, np.float32), 1)
        assert total.mean().tolist() == [value, value]


def test_numbers_that_are_0_or_small_take_no_memory_for_large_ones() -> None:
    total = ExactSum(1000)
    total.add(np.zeros(1000, np.float32), 3)
    assert total.nbytes == 0
    total.add(np.full(1000, 2.0**-20, np.float32), 1)
    assert total.nbytes == 8 * 1000
    assert total.mean().tolist() == pytest.approx([2.0**-22] * 1000)


@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("of_a_unit", [0.25, 0.5, 0.75, 1.0, 1.5, 1.75])
def test_no_piece_holds_what_the_next_one_should(piece: int, of_a_unit: float) -> None:
    value = of_a_unit * unit_of(piece)
    if not 2.0**-100 < value < LARGEST:
        return
    total = ExactSum(1)
    total.add(np.array([value], np.float32), 1)
    assert all(abs(int(one[0])) <= 2 ** (PIECE_BITS - 1) for one in total._pieces.values())
