"""The sum modulo 2^64 leaves the bits of the plain one, whatever the numbers, owners and rows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.aggregation.aggregators import FedAvg
from shared.model.metrics import BINS, ScoreSummary, merge
from shared.model.vectors import Vector
from shared.secure_aggregation.contents import (
    TrainingSum,
    decode_evaluation,
    encode_evaluation,
    encode_training,
)
from shared.secure_aggregation.fixed_point import FRACTION_BITS, Ring, encode

numbers = st.one_of(
    st.floats(-(2.0**9), 2.0**9, width=32),
    st.floats(-(2.0**-20), 2.0**-20, width=32),
    st.sampled_from([0.0, -0.0, 2.0**-37, -(2.0**-37), 3 * 2.0**-37, 2.0**-149]),
)
owners = st.lists(
    st.tuples(st.lists(numbers, min_size=4, max_size=4), st.integers(1, 2500)),
    min_size=2,
    max_size=40,
)


def plain(parts: list[tuple[Vector, int]]) -> Vector:
    rule = FedAvg(np.zeros(parts[0][0].size, np.float32))
    for number, (state, rows) in enumerate(parts):
        rule.add(str(number), state, rows)
    return rule.finish().state


def secure(parts: list[tuple[Vector, int]], masks: np.random.Generator) -> TrainingSum:
    """The sum of what the owners encode, below masks that cancel."""
    vectors = [encode_training(state, rows, loss=0.5) for state, rows in parts]
    total = np.zeros_like(vectors[0])
    left: Ring = np.zeros_like(total)
    for vector in vectors:
        mask = masks.integers(0, 2**64, vector.size, np.uint64)
        total += vector + mask
        left += mask
    return TrainingSum.decode(total - left)


@settings(deadline=None, max_examples=300)
@given(owners, st.integers(0, 2**32))
def test_a_secure_mean_has_the_bits_of_the_plain_one(
    parts: list[tuple[list[float], int]], seed: int
) -> None:
    vectors = [(np.array(values, np.float32), rows) for values, rows in parts]
    found = secure(vectors, np.random.default_rng(seed))
    assert found.state.tobytes() == plain(vectors).tobytes()
    assert found.rows == sum(rows for _, rows in vectors)
    assert found.loss == 0.5


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_a_model_of_a_real_size_has_the_bits_of_the_plain_one(count: int) -> None:
    rng = np.random.default_rng(count)
    vectors = [
        (
            (rng.normal(size=20_000) * 10.0 ** rng.integers(-9, 1, 20_000)).astype(np.float32),
            int(rng.integers(1, 5000)),
        )
        for _ in range(count)
    ]
    assert secure(vectors, rng).state.tobytes() == plain(vectors).tobytes()


@settings(deadline=None)
@given(numbers, st.integers(1, 5000))
def test_what_is_encoded_is_the_nearest_point_of_the_grid(value: float, rows: int) -> None:
    found = int(encode(np.array([value], np.float32), rows).view(np.int64)[0])
    exact = Fraction(value) * rows * 2**FRACTION_BITS
    assert abs(found - exact) <= Fraction(1, 2)
    assert found == round(exact)  # Python's also rounds a half to even


def test_trained_numbers_above_two_to_the_minus_thirteen_lose_nothing() -> None:
    state = np.nextafter(np.float32(2.0**-13), np.float32(1)) * np.ones(1, np.float32)
    assert Fraction(float(state[0])) * 2**FRACTION_BITS == int(encode(state, 1)[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**26, -(2.0**26)])
def test_numbers_that_do_not_fit_the_ring_are_refused_by_who_has_them(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        encode(np.array([0, bad], np.float32), 1)


def test_a_sum_that_may_have_wrapped_is_an_error_though_each_owner_fitted() -> None:
    state = np.full(2, 2.0**25, np.float32)
    parts = [(state, 1)] * 2
    with pytest.raises(ValueError, match="may reach"):
        secure(parts, np.random.default_rng(0))
    assert secure(parts[:1], np.random.default_rng(0)).state.tolist() == [2.0**25, 2.0**25]


@pytest.mark.parametrize("rows", [0, -1, 2**29])
def test_rows_that_no_owner_has_are_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="rows"):
        encode_training(np.zeros(2, np.float32), rows, 0.0)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -1.0, 1e12])
def test_a_loss_that_no_owner_has_is_refused(loss: float) -> None:
    with pytest.raises(ValueError, match="loss"):
        encode_training(np.zeros(2, np.float32), 1, loss)


def test_a_sum_of_noise_is_not_read_as_a_result() -> None:
    noise = np.random.default_rng(7).integers(2**63, 2**64, 12, np.uint64)
    with pytest.raises(ValueError, match="impossible"):
        TrainingSum.decode(noise)


counts = st.lists(st.tuples(st.integers(0, BINS - 1), st.integers(1, 10**6)), max_size=8)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(counts, counts), min_size=2, max_size=6))
def test_held_out_counts_are_those_of_a_plain_evaluation(
    owned: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]],
) -> None:
    def dense(sparse: list[tuple[int, int]]) -> np.ndarray:
        found = np.zeros(BINS, np.int64)
        for place, count in sparse:
            found[place] += count
        return found

    summaries = [ScoreSummary(dense(ham), dense(spam), 0.25) for ham, spam in owned]
    total = encode_evaluation(summaries[0])
    for summary in summaries[1:]:
        total = total + encode_evaluation(summary)
    found, expected = decode_evaluation(total), merge(summaries)
    assert found.ham.tolist() == expected.ham.tolist()
    assert found.spam.tolist() == expected.spam.tolist()
    assert found.loss_sum == expected.loss_sum
