"""Whether a message was trained on: attacks' scores, and what guesses by them prove.

Three attacks' scores are made elsewhere or here: the loss (Yeom, Giacomelli, Fredrikson and Jha,
Privacy Risk in Machine Learning, CSF 2018), the offline likelihood ratio (Carlini, Chien, Nasr,
Song, Terzis and Tramer, Membership Inference Attacks From First Principles, S&P 2022), and what
updates tell (shared/privacy/reading_updates.py). What guesses by such a score prove of epsilon is
the audit of one run (Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run,
NeurIPS 2023).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
_STEPS = 40  # of a bisection


def margins(logits: Numbers, labels: npt.NDArray[np.integer]) -> Numbers:
    """How sure a model is of each message's own label, (n,): log(p / (1 - p)).

    A message of small loss has a large one, in the same order. Args: labels: 1 for spam.
    """
    return np.asarray(logits * np.where(labels == 1, 1.0, -1.0))


def offline_likelihood(target: Numbers, shadows: Numbers) -> Numbers:
    """By how much a model is surer of each message than models that were not trained on it, (n,).

    In standard deviations of one, common to all messages, since that of a few shadow models would
    be none (Carlini et al., section V.C).

    Args:
        target: margins (n,). shadows: margins (k, n) of models that had none of these messages.
    """
    deviation = shadows.std(axis=0, ddof=1).mean() if len(shadows) > 1 else 1.0
    return np.asarray((target - shadows.mean(axis=0)) / max(float(deviation), 1e-9))


def found_at(there: Numbers, others: Numbers, false_alarms: float = 0.01) -> float:
    """Share of what is there above a threshold that so few of the others pass, 0 to 1."""
    allowed = int(false_alarms * len(others))
    threshold = np.sort(others)[::-1][min(allowed, len(others) - 1)]
    return float((there > threshold).mean())


def right_guesses(included: Flags, scores: Numbers, guesses: int) -> int:
    """How many are right of guesses that the highest scores are in, and the lowest are not.

    Args:
        included: (m,). scores: (m,). guesses: an even number, m at most; half go each way.
    """
    order = np.argsort(scores, kind="stable")
    half = guesses // 2
    return int(included[order[-half:]].sum() + (~included[order[:half]]).sum())


def at_least_epsilon(
    right: int, guesses: int, canaries: int, delta: float, doubt: float = 0.05
) -> float:
    """The epsilon that so many right guesses prove, 0 where they prove none.

    Of a mechanism that is (epsilon, delta)-private, so many right guesses come with probability
    `doubt` at most. The number of guesses must not hang on what was told.

    Args:
        right, guesses: of `canaries`, each of which was in or not by a coin of its own.

    Raises:
        ValueError: the numbers are impossible.
    """
    if not 0 <= right <= guesses <= canaries or not guesses:
        raise ValueError("there are more right guesses than guesses, or more than canaries")
    low, high = 0.0, 1.0
    while _chance_of(right, guesses, canaries, high, delta) < doubt:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        beaten = _chance_of(right, guesses, canaries, middle, delta) < doubt
        low, high = (middle, high) if beaten else (low, middle)
    return low


def _chance_of(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """A bound on the chance of at least so many right guesses (Steinke et al., theorem 5.2)."""
    chances = _binomial(guesses, 1 / (1 + math.exp(-epsilon)))
    as_many = float(chances[right:].sum())
    # the most that delta can add: of sums of the chances just below, each by its distance
    below = np.cumsum(chances[:right][::-1])
    share = float((below / np.arange(1, right + 1)).max(initial=0.0))
    return min(1.0, as_many + share * delta * 2 * canaries)


def _binomial(trials: int, chance: float) -> npt.NDArray[np.float64]:
    """The chance of 0 to `trials` successes, (trials + 1,), of which neither 0 nor 1 is sure."""
    numbers = np.arange(trials + 1)
    logs = np.array([math.lgamma(number + 1) for number in numbers])
    ways = logs[-1] - logs - logs[::-1]
    return np.asarray(
        np.exp(ways + numbers * math.log(chance) + numbers[::-1] * math.log1p(-chance))
    )
