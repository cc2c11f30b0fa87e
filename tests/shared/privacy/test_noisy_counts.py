"""Held-out counts with noise: exact without it, and intervals that hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.privacy.noisy_counts import (
    NOISY,
    NoisyCounts,
    counts_as_one_owner,
    exact_counts,
    sensitivity_of,
)
from shared.privacy.private_sum import UNIT

logits = st.lists(st.floats(-20, 20), min_size=2, max_size=200)


def decoded(numbers: np.ndarray) -> NoisyCounts:
    return NoisyCounts.decode(numbers.view(np.uint64))


@given(logits, st.data())
def test_without_noise_the_matrix_is_that_of_the_rows(
    found: list[float], data: st.DataObject
) -> None:
    labels = np.array(
        data.draw(st.lists(st.integers(0, 1), min_size=len(found), max_size=len(found)))
    )
    values = np.array(found)
    metrics = decoded(exact_counts(values, labels)).metrics
    spam = labels == 1
    if all((labels == one).any() for one in (0, 1)):
        assert metrics.rows == len(found)
        assert metrics.true_positives == (spam & (values >= 0)).sum()
        assert metrics.false_positives == (~spam & (values >= 0)).sum()
    assert metrics.loss is None


@given(logits, st.integers(0, 1), st.floats(-20, 20))
def test_one_message_moves_one_count_by_one(found: list[float], label: int, one: float) -> None:
    labels = np.zeros(len(found), np.int64)
    before = exact_counts(np.array(found), labels)
    after = exact_counts(np.array([*found, one]), np.append(labels, label))
    moved = (after - before) / UNIT
    assert np.linalg.norm(moved) == 1
    assert moved[NOISY:].tolist() == [0.0] * (len(moved) - NOISY)


@pytest.mark.parametrize("deviation", [0.5, 2.0, 6.3])
def test_the_noise_is_read_from_the_numbers_that_are_noise_alone(deviation: float) -> None:
    random = np.random.default_rng(1)
    numbers = exact_counts(random.normal(-5, 2, 900), np.zeros(900, np.int64))
    numbers[:NOISY] += np.rint(deviation * UNIT * random.standard_normal(NOISY)).astype(np.int64)
    # a chi-squared of 64: outside these bounds once in 20,000 times, and the seed is fixed
    assert 0.65 < decoded(numbers).deviation / deviation < 1.4


def test_intervals_hold_the_true_figures() -> None:
    """Of 120 intervals of nominal 95 %, 100 hold it at least: with a true cover of 90 % or more,
    fewer do in 1 of 300 runs, and the seed is fixed."""
    random = np.random.default_rng(2)
    labels = (np.arange(1000) < 130).astype(np.int64)
    values = np.where(labels == 1, random.normal(4, 2.5, 1000), random.normal(-6, 2, 1000))
    exact = exact_counts(values, labels)
    truth = decoded(exact).metrics
    held = {"roc_auc": 0, "f1": 0}
    for _ in range(120):
        numbers = exact.copy()
        numbers[:NOISY] += np.rint(2 * UNIT * random.standard_normal(NOISY)).astype(np.int64)
        intervals = decoded(numbers).intervals
        for name in held:
            low, high = intervals[name]
            held[name] += low <= getattr(truth, name) <= high
    assert min(held.values()) >= 100


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=NOISY, max_size=NOISY))
def test_whatever_was_summed_has_figures_that_can_be(values: list[float]) -> None:
    numbers = np.zeros(4097, np.int64)
    numbers[:NOISY] = np.rint(np.array(values) * UNIT).astype(np.int64)
    found = decoded(numbers)
    assert found.metrics.rows >= 0
    assert all(0 <= low <= high <= 1 for low, high in found.intervals.values())
    assert "95 % intervals" in found.in_words()


def of_owner(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return counts_as_one_owner(exact_counts(values, labels))


@given(logits, st.data(), st.integers(1, 1000), st.floats(-20, 20))
def test_an_owner_and_each_of_the_messages_move_the_sum_by_a_bounded_length(
    found: list[float], data: st.DataObject, times: int, one: float
) -> None:
    labels = np.array(
        data.draw(st.lists(st.integers(0, 1), min_size=len(found), max_size=len(found))) * times
    )
    values = np.array(found * times)
    counts = of_owner(values, labels)
    bound = sensitivity_of("owner")
    assert math.isqrt(sum(int(each) ** 2 for each in counts)) <= bound
    assert not counts[2 * 7 :].any()
    for label in (0, 1):
        moved = of_owner(np.append(values, one), np.append(labels, label)) - counts
        assert math.isqrt(sum(int(each) ** 2 for each in moved)) <= bound


def test_intervals_of_thirty_owners_hold_the_figures_that_their_sum_has_without_noise() -> None:
    """Of 60 intervals, 45 hold it at least: with a true cover of 88 %, as was found with this much
    noise, fewer do in 1 of 700 runs, and the seed is fixed."""
    random = np.random.default_rng(4)
    total = np.zeros(4097, np.int64)
    for count in range(30, 60):
        labels = (np.arange(count) < 0.13 * count).astype(np.int64)
        values = np.where(labels == 1, random.normal(4, 2.5, count), random.normal(-6, 2, count))
        total += of_owner(values, labels)
    truth = NoisyCounts.decode(total.view(np.uint64), "owner")
    assert 0.1 < truth.spam.sum() / (truth.ham.sum() + truth.spam.sum()) < 0.18
    held = {"roc_auc": 0, "f1": 0}
    for _ in range(60):
        numbers = total.copy()
        noise = 8 * UNIT * random.standard_normal(NOISY)
        numbers[:NOISY] += np.rint(noise).astype(np.int64)
        found = NoisyCounts.decode(numbers.view(np.uint64), "owner")
        assert found.spam_deviation == found.deviation / 4
        for name in held:
            low, high = found.intervals[name]
            held[name] += low <= getattr(truth.metrics, name) <= high
    assert min(held.values()) >= 45
