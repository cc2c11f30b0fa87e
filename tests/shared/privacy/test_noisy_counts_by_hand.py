"""Held-out counts with noise, worked out in other ways: bins, projections, figures, intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from shared.privacy import noisy_counts
from shared.privacy.noisy_counts import (
    EDGES,
    NOISE_ALONE,
    NOISY,
    NoisyCounts,
    counts_as_one_owner,
    exact_counts,
    sensitivity_of,
)

UNIT = 2**24
SIZE = 4097
HAM = np.array([400.0, 300.0, 100.0, 40.0, 20.0, 8.0, 2.0])
SPAM = np.array([20.0, 15.0, 10.0, 8.0, 20.0, 35.0, 30.0])


def test_a_bin_begins_at_its_edge_and_spam_stands_behind_ham() -> None:
    assert EDGES == (-5.0, -2.5, -1.0, 0.0, 1.0, 3.0)
    for place, edge in enumerate(EDGES):
        logits = np.array([np.nextafter(edge, -99), edge, edge])
        counted = exact_counts(logits, np.array([0, 0, 1]))
        expected = np.zeros(SIZE, np.int64)
        expected[[place, place + 1, 7 + place + 1]] = UNIT
        assert counted.dtype == np.int64
        assert (counted == expected).all()
    assert (NOISE_ALONE, NOISY) == (64, 78)


def test_a_figure_is_of_a_place_within_each_bin() -> None:
    for low, place, high in zip(
        (-math.inf, *EDGES), noisy_counts._CENTRES, (*EDGES, math.inf), strict=True
    ):
        assert low < place < high


def test_a_message_counts_for_one_and_an_owner_for_eight_in_which_spam_counts_fourfold() -> None:
    assert (sensitivity_of("message"), sensitivity_of("owner")) == (UNIT, 8 * UNIT)
    numbers = np.zeros(SIZE, np.int64)
    numbers[[0, 13, 14, 20]] = (3 * UNIT, UNIT, 5, 7)
    told = counts_as_one_owner(numbers)
    assert told[[0, 13]].tolist() == [3 * UNIT, 4 * UNIT]  # 5 long, which is short enough
    assert np.count_nonzero(told) == 2
    assert told.dtype == np.int64
    numbers[[0, 13]] = (30 * UNIT, 10 * UNIT)
    told = counts_as_one_owner(numbers)
    assert 4.8 * UNIT - 2 < told[0] < 4.8 * UNIT
    assert 6.4 * UNIT - 2 < told[13] < 6.4 * UNIT


@pytest.mark.parametrize(("unit", "weight"), [("message", 1), ("owner", 4)])
def test_counts_are_read_by_their_unit_and_the_noise_is_the_root_mean_square_of_the_rest(
    unit: str, weight: int
) -> None:
    numbers = np.full(SIZE, 10**12, np.int64)  # behind what is noisy, nothing is read
    numbers[:7], numbers[7:14] = -np.arange(7) * UNIT, np.arange(7) * weight * UNIT
    numbers[14:78] = UNIT * np.where(np.arange(64) < 16, 6, -2)
    found = NoisyCounts.decode(numbers.view(np.uint64), unit)  # type: ignore[arg-type]
    assert found.ham.tolist() == [-place for place in range(7)]
    assert found.spam.tolist() == list(range(7))
    assert found.deviation == pytest.approx(math.sqrt((16 * 36 + 48 * 4) / 64))
    assert found.spam_deviation == pytest.approx(found.deviation / weight)


def nearest(counts: np.ndarray) -> np.ndarray:
    """By bisection: what must be taken off each, so that those above 0 have the sum, 1 at least."""
    total = max(1.0, counts.sum())
    low, high = counts.min() - total, counts.max()
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(counts - middle, 0).sum() > total:
            low = middle
        else:
            high = middle
    return np.asarray(np.maximum(counts - high, 0))


@pytest.mark.parametrize("seed", range(8))
def test_the_nearest_possible_counts_have_the_sum_and_none_below_0(seed: int) -> None:
    draw = np.random.default_rng(seed)
    counts = draw.normal(2, 20, (5, 7))
    counts[0] -= 30  # a sum below 1
    counts[1] = np.rint(counts[1])
    counts[2] = [0, 0, 0, 5, 5, 5, 5]
    found = noisy_counts._possible(counts)
    for one, expected in zip(found, map(nearest, counts), strict=True):
        assert one == pytest.approx(expected, abs=1e-9)


def weighted(ham: np.ndarray, spam: np.ndarray) -> dict[str, float]:
    """The figures by scikit-learn: a row for each bin and class, with its count for a weight."""
    places = np.array([*range(7), *range(7)])
    labels, weights = np.repeat([0, 1], 7), np.concatenate([ham, spam])
    return {
        "roc_auc": roc_auc_score(labels, places, sample_weight=weights),
        "average_precision": average_precision_score(labels, places, sample_weight=weights),
        "f1": f1_score(labels, places >= 4, sample_weight=weights),
    }


@pytest.mark.parametrize("seed", range(4))
def test_figures_of_counts_are_those_of_scikit_learn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    ham, spam = draw.exponential(9, (2, 3, 7))
    found = noisy_counts._figures(ham, spam)
    for row in range(3):
        expected = weighted(ham[row], spam[row])
        assert {name: values[row] for name, values in found.items()} == pytest.approx(expected)


def test_metrics_are_those_of_the_nearest_whole_counts() -> None:
    ham = np.add(HAM, [0.3, -0.3, 0, 0, 0, 0, -3.0])
    spam = np.add(SPAM, [-3.0, 0, 0, 0, 0, 0.4, -0.4])
    whole = [np.rint(nearest(one)) for one in (ham, spam)]
    found = NoisyCounts(ham, spam, 1.0, 1.0).metrics
    expected = weighted(*whole)
    assert found.rows == whole[0].sum() + whole[1].sum()
    assert (found.true_positives, found.false_positives) == (whole[1][4:].sum(), whole[0][4:].sum())
    assert (found.roc_auc, found.f1) == pytest.approx((expected["roc_auc"], expected["f1"]))
    assert found.loss is None


def test_an_interval_is_the_wider_of_two_bootstraps_of_its_own_classes_noise() -> None:
    """By 6,000 other draws: their ends differ by a twentieth of the width at most."""
    ham_noise, spam_noise = 6.0, 3.0
    here = weighted(nearest(HAM), nearest(SPAM))
    draw = np.random.default_rng(9)
    ham = noisy_counts._possible(HAM + ham_noise * draw.standard_normal((6000, 7)))
    spam = noisy_counts._possible(SPAM + spam_noise * draw.standard_normal((6000, 7)))
    again = noisy_counts._figures(ham, spam)  # which stands beside scikit-learn above
    found = NoisyCounts(HAM, SPAM, ham_noise, spam_noise).intervals
    assert set(found) == set(here)
    for name, (low, high) in found.items():
        ends = np.quantile(again[name], [0.025, 0.975])
        expected = min(ends[0], 2 * here[name] - ends[1]), max(ends[1], 2 * here[name] - ends[0])
        width = expected[1] - expected[0]
        assert 0.001 < width < 0.5
        assert (low, high) == pytest.approx(expected, abs=width / 20)


def test_an_interval_ends_at_0_and_at_1_and_is_told_in_percent() -> None:
    sure = NoisyCounts(
        np.array([900.0, 0, 0, 0, 0, 0, 0]), np.array([0.0, 0, 0, 0, 0, 0, 90]), 2.0, 2.0
    )
    wrong = NoisyCounts(sure.spam, sure.ham, 2.0, 2.0)
    assert all(0.9 < low < high == 1.0 for low, high in sure.intervals.values())
    assert wrong.intervals["f1"][0] == wrong.intervals["roc_auc"][0] == 0.0
    shown = [f"{100 * low:.1f} to {100 * high:.1f} %" for low, high in sure.intervals.values()]
    assert sure.in_words() == (
        f"held-out counts have noise: AUC {shown[0]}, AP {shown[1]}, F1 {shown[2]} "
        "(95 % intervals of the noise)"
    )
