"""Guesses about messages, worked out by hand or in whole numbers."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest

from shared.privacy.membership import (
    at_least_epsilon,
    found_at,
    margins,
    offline_likelihood,
    right_guesses,
)


def exact_chance(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """Steinke, Nasr and Jagielski's theorem 5.2 in fractions of the same chance."""
    chance = Fraction(1 / (1 + math.exp(-epsilon)))
    of = [
        math.comb(guesses, k) * chance**k * (1 - chance) ** (guesses - k)
        for k in range(guesses + 1)
    ]
    share = max((sum(of[right - i : right]) / i for i in range(1, right + 1)), default=0)
    return float(min(1, sum(of[right:]) + share * Fraction(delta) * 2 * canaries))


@pytest.mark.parametrize(
    ("right", "guesses", "canaries"),
    [(5, 5, 5), (9, 10, 10), (10, 10, 40), (17, 20, 30), (32, 40, 40), (40, 40, 50)],
)
@pytest.mark.parametrize("delta", [0.0, 1e-3])
@pytest.mark.parametrize("doubt", [0.05, 0.3])
def test_the_epsilon_that_is_proved_is_the_one_of_exact_sums(
    right: int, guesses: int, canaries: int, delta: float, doubt: float
) -> None:
    found = at_least_epsilon(right, guesses, canaries, delta, doubt)
    at_0 = exact_chance(right, guesses, canaries, 0.0, delta)
    if at_0 >= doubt:
        assert found == 0.0
    else:
        assert exact_chance(right, guesses, canaries, found, delta) == pytest.approx(doubt)
    if doubt == 0.05:
        assert at_least_epsilon(right, guesses, canaries, delta) == found


def test_what_is_proved_is_found_below_1_and_above_2_and_to_many_places() -> None:
    """Of all right, n of n, it is -log(0.05^(-1/n) - 1)."""
    for guesses in (5, 6, 10, 100, 3000):
        exact = -math.log(0.05 ** (-1 / guesses) - 1)
        assert at_least_epsilon(guesses, guesses, guesses, 0.0) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    ("right", "guesses", "canaries"), [(3, 2, 2), (2, 3, 2), (-1, 2, 2), (0, 0, 0), (0, 0, 2)]
)
def test_impossible_numbers_are_an_error(right: int, guesses: int, canaries: int) -> None:
    with pytest.raises(ValueError, match="more right guesses than guesses"):
        at_least_epsilon(right, guesses, canaries, 0.0)


def test_of_no_right_guess_and_of_no_wrong_one_there_is_an_epsilon() -> None:
    assert at_least_epsilon(0, 2, 2, 0.0) == 0.0
    assert at_least_epsilon(0, 2, 2, 0.5) == 0.0
    assert at_least_epsilon(2, 2, 2, 0.0, doubt=0.3) > 0.0
    # half by half is a quarter: it is above no doubt of a quarter
    assert at_least_epsilon(2, 2, 2, 0.0, doubt=0.25) == pytest.approx(0.0, abs=1e-9)


def test_equal_scores_are_guessed_by_their_place() -> None:
    """The last of them are in, and the first are not: whoever repeats it finds the same."""
    included = np.arange(1000) >= 500
    assert right_guesses(included, np.zeros(1000), 1000) == 1000
    assert right_guesses(~included, np.zeros(1000), 1000) == 0
    assert right_guesses(included, np.zeros(1000), 10) == 10
    halves = np.arange(1000.0) % 2
    at_ends = np.zeros(1000, bool)
    at_ends[np.flatnonzero(halves)[-100:]] = True
    assert right_guesses(at_ends, halves, 200) == 200
    assert right_guesses(np.array([False, True, True]), np.array([0.0, 2.0, 1.0]), 2) == 2


@pytest.mark.parametrize(
    ("others", "alarms", "passing"), [(200, 0.01, 2), (199, 0.01, 1), (50, 0.1, 5), (7, 0.01, 0)]
)
def test_so_many_of_the_others_pass_the_threshold_and_no_more(
    others: int, alarms: float, passing: int
) -> None:
    scores = np.random.default_rng(1).permutation(others).astype(float)
    for above in (0.0, 0.5):
        there = np.array([others - 1 - passing + above, others, -1.0, -1.0])
        assert found_at(there, scores, alarms) == (0.25 if above == 0 else 0.5)
    if alarms == 0.01:
        assert found_at(scores, scores) == found_at(scores, scores, 0.01)
    assert found_at(scores, scores, alarms) == pytest.approx(passing / others)
    assert found_at(scores, scores, 1.0) == pytest.approx((others - 1) / others)


def test_a_likelihood_ratio_is_in_deviations_of_all_messages_together() -> None:
    shadows = np.array([[1.0, 4.0, 0.0], [3.0, 4.0, 3.0], [5.0, 7.0, 3.0]])
    target = np.array([7.0, 5.0, -4.0])
    by_message = [statistics.stdev(column) for column in shadows.T]
    expected = [4.0 / statistics.mean(by_message), 0.0, -6.0 / statistics.mean(by_message)]
    assert offline_likelihood(target, shadows) == pytest.approx(expected)
    two = shadows[:2]
    deviation = statistics.mean(statistics.stdev(column) for column in two.T)
    assert offline_likelihood(target, two) == pytest.approx((target - two.mean(axis=0)) / deviation)
    # of one model there is no deviation, and of such that agree it is none
    assert offline_likelihood(target, shadows[:1]).tolist() == [6.0, 1.0, -4.0]
    agree = offline_likelihood(target, np.ones((2, 3)))
    assert agree == pytest.approx([6e9, 4e9, -5e9])


def test_a_margin_is_the_logit_of_spam_and_its_opposite_of_ham() -> None:
    assert margins(np.array([2.0, -3.0, 2.0]), np.array([1, 1, 0])).tolist() == [2.0, -3.0, -2.0]
