"""What guesses about messages prove of epsilon, and the scores that guess."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from shared.privacy.accountant import mu_of
from shared.privacy.membership import (
    at_least_epsilon,
    found_at,
    margins,
    offline_likelihood,
    right_guesses,
)


def chance_of(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """Theorem 5.2 as its authors wrote it down, with scipy (their appendix D)."""
    accuracy = 1 / (1 + math.exp(-epsilon))
    beta = binom.sf(right - 1, guesses, accuracy)
    alpha = total = 0.0
    for i in range(1, right + 1):
        total += binom.pmf(right - i, guesses, accuracy)
        alpha = max(alpha, total / i)
    return float(min(1.0, beta + alpha * delta * 2 * canaries))


@pytest.mark.parametrize(("right", "guesses"), [(97, 100), (70, 100), (20, 20), (480, 500)])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_epsilon_is_where_the_authors_bound_meets_the_doubt(
    right: int, guesses: int, delta: float
) -> None:
    found = at_least_epsilon(right, guesses, 1000, delta)
    if found == 0:
        assert chance_of(right, guesses, 1000, 0.0, delta) >= 0.05 - 1e-6
    else:
        assert chance_of(right, guesses, 1000, found, delta) == pytest.approx(0.05, rel=1e-4)


def test_guessing_proves_nothing_and_no_number_of_right_guesses_proves_all() -> None:
    assert at_least_epsilon(50, 100, 1000, 1e-5) == 0
    assert at_least_epsilon(0, 10, 1000, 1e-5) == 0
    assert at_least_epsilon(100, 100, 1000, 0.0) == pytest.approx(
        -math.log(0.05 ** (-1 / 100) - 1), rel=1e-6
    )
    for right, guesses, canaries in ((5, 4, 10), (4, 11, 10), (0, 0, 10)):
        with pytest.raises(ValueError, match="more right guesses"):
            at_least_epsilon(right, guesses, canaries, 0.0)


def test_more_right_guesses_prove_more() -> None:
    found = [at_least_epsilon(right, 100, 1000, 1e-5) for right in range(101)]
    assert found == sorted(found)
    assert found[-1] > 3


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_what_is_proved_is_above_the_truth_once_in_twenty_times_at_most(epsilon: float) -> None:
    """Of randomised response, which is epsilon-private and for which the bound is tight.

    400 runs: at a rate of 5 %, more than 40 come once in 10,000 times.
    """
    draw = np.random.default_rng(3)
    accuracy = 1 / (1 + math.exp(-epsilon))
    above = 0
    for right in draw.binomial(100, accuracy, size=400):
        above += at_least_epsilon(int(right), 100, 100, 0.0) > epsilon
    assert above <= 40


def test_a_gaussian_release_is_found_out_but_never_beyond_what_it_claims() -> None:
    draw = np.random.default_rng(4)
    mu = mu_of(8.0, 1e-5)
    found = []
    for _ in range(40):
        included = draw.random(1000) < 0.5
        scores = mu * included + draw.standard_normal(1000)
        right = right_guesses(included, scores, 100)
        found.append(at_least_epsilon(right, 100, 1000, 1e-5))
    assert 1.5 < float(np.mean(found)) < max(found) < 8


def test_guesses_are_the_highest_and_the_lowest_scores() -> None:
    included = np.array([True, False, True, False, True, False])
    scores = np.array([6.0, 1.0, 5.0, 2.0, 0.0, 7.0])
    assert right_guesses(included, scores, 2) == 0  # 5 is highest and out, 4 lowest and in
    assert right_guesses(included, scores, 4) == 2
    assert right_guesses(included, scores, 6) == 4


def test_a_margin_is_large_where_the_model_is_sure_of_the_messages_own_label() -> None:
    logits, labels = np.array([3.0, 3.0, -2.0]), np.array([1, 0, 0])
    assert margins(logits, labels).tolist() == [3.0, -3.0, 2.0]


def test_a_likelihood_ratio_takes_away_what_shadow_models_know_as_well() -> None:
    draw = np.random.default_rng(5)
    hard = 5 * draw.standard_normal(400)
    included = np.arange(400) < 200
    shadows = hard + 0.3 * draw.standard_normal((4, 400))
    target = hard + 0.3 * draw.standard_normal(400) + included
    ratio = offline_likelihood(target, shadows)
    assert found_at(ratio[included], ratio[~included]) > 0.4
    assert found_at(target[included], target[~included]) < 0.1
    assert np.isfinite(offline_likelihood(target, shadows[:1])).all()
