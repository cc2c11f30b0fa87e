"""How a model does on held-out rows, from counts with noise: few bins, estimates, and intervals.

One message is in one bin of one class, so it moves one count by 1. Behind the counts stand numbers
that are noise and nothing else: from them whoever reads the sum sees how large the noise was,
however many owners added some.

Of unit "owner" all counts of one owner are made a vector of bounded length, in which spam counts
for more than it has messages: owners with many messages then count for no more than others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.model.metrics import BINS, Metrics, ScoreSummary, bin_of, metrics_from
from shared.model.recipe import Unit
from shared.privacy.private_sum import UNIT, Ring
from shared.secure_aggregation.contents import EVALUATION_NUMBERS

EDGES = (-5.0, -2.5, -1.0, 0.0, 1.0, 3.0)
"""Between the bins of logits: with epsilon 2 and a thousand held-out rows these few cost AUC 0.3
points of resolution, and more bins more than that in noise."""
_CENTRES = (-10.0, -3.75, -1.75, -0.5, 0.5, 2.0, 10.0)
_KINDS = len(_CENTRES)
_THRESHOLD = EDGES.index(0.0) + 1  # the first bin whose messages are called spam
NOISE_ALONE = 64
NOISY = 2 * _KINDS + NOISE_ALONE
"""Numbers that have noise, the first of a vector (EVALUATION_NUMBERS,); the others are 0."""
_OWNER = 8.0
"""Of unit "owner": how long an owner's vector is at most, in messages. It is more than what one
message counts for, so that the same noise hides each message too."""
_SPAM = 4.0
"""Likewise: what a spam message counts for. Of seven or eight messages one is spam, and the noise
is the same for both."""
_SLACK = 1 - 1e-9
_DRAWS = 2000
_TAIL = 2.5  # percent on each side of an interval

Floats = npt.NDArray[np.float64]


def exact_counts(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Counts without noise as the vector (EVALUATION_NUMBERS,) in units; must not leave the node.

    Args:
        logits, labels: of the held-out rows, (rows,).
    """
    bins = np.searchsorted(EDGES, logits, side="right")
    counted = np.bincount(bins + _KINDS * labels, minlength=2 * _KINDS)
    numbers = np.zeros(EVALUATION_NUMBERS, np.int64)
    numbers[: 2 * _KINDS] = counted * int(UNIT)
    return numbers


def sensitivity_of(unit: Unit) -> float:
    """Units that a message, or an owner with all held-out messages, moves the vector by."""
    return _OWNER * UNIT if unit == "owner" else UNIT


def counts_as_one_owner(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """What an owner's counts (EVALUATION_NUMBERS,) are in a sum of unit "owner"."""
    counts = numbers[: 2 * _KINDS].astype(np.float64)
    counts[_KINDS:] *= _SPAM
    length = float(np.linalg.norm(counts))
    most = sensitivity_of("owner") * _SLACK
    if length > most:
        counts = np.trunc(counts * (most / length))
    bounded = np.zeros_like(numbers)
    bounded[: 2 * _KINDS] = counts
    return bounded


@dataclass(frozen=True, eq=False)
class NoisyCounts:
    """Summed counts with noise, (bins,) of each class, and the noise's standard deviations."""

    ham: Floats
    spam: Floats
    deviation: float
    spam_deviation: float

    @classmethod
    def decode(cls, numbers: Ring, unit: Unit = "message") -> Self:
        """Args: numbers: (EVALUATION_NUMBERS,)."""
        values = numbers.view(np.int64)[:NOISY] / UNIT
        alone = values[2 * _KINDS :]
        deviation = float(np.sqrt(np.square(alone).mean()))
        weight = _SPAM if unit == "owner" else 1.0
        spam = values[_KINDS : 2 * _KINDS] / weight
        return cls(values[:_KINDS], spam, deviation, deviation / weight)

    @property
    def metrics(self) -> Metrics:
        """The figures of the nearest counts that can be; without a loss."""
        places = bin_of(np.array(_CENTRES))
        ham, spam = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
        ham[places] = np.rint(_possible(self.ham[None])[0])
        spam[places] = np.rint(_possible(self.spam[None])[0])
        return replace(metrics_from(ScoreSummary(ham, spam, 0.0)), loss=None)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Where a figure of the rows without noise lies in 95 of 100 cases, by its name.

        By drawing the noise again, many times, around the nearest possible counts: what the
        percentile and the basic bootstrap hold together (Davison and Hinkley, Bootstrap Methods and
        their Application, 1997, 5.2 and 5.3). Where all bins but a few are empty, as with a good
        model, either alone covers 75 of 100.
        """
        random = np.random.default_rng(0)  # for the interval alone; nothing secret hangs on it
        ham, spam = _possible(self.ham[None]), _possible(self.spam[None])
        here = _figures(ham, spam)
        again = _figures(
            _possible(ham + self.deviation * random.standard_normal((_DRAWS, _KINDS))),
            _possible(spam + self.spam_deviation * random.standard_normal((_DRAWS, _KINDS))),
        )
        found = {}
        for name, values in again.items():
            ends = np.percentile(values, (_TAIL, 100 - _TAIL))
            both = np.concatenate([ends, 2 * here[name] - ends])
            found[name] = (float(both.min().clip(0, 1)), float(both.max().clip(0, 1)))
        return found

    def in_words(self) -> str:
        """For whoever reads along."""
        names = {"roc_auc": "AUC", "average_precision": "AP", "f1": "F1"}
        told = ", ".join(
            f"{names[name]} {100 * low:.1f} to {100 * high:.1f} %"
            for name, (low, high) in self.intervals.items()
        )
        return f"held-out counts have noise: {told} (95 % intervals of the noise)"


def _possible(counts: Floats) -> Floats:
    """The nearest counts (draws, bins) of which none is below 0, with the same sum, at least 1.

    Euclidean projection onto a simplex (Held, Wolfe and Crowder 1974).
    """
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    ordered = -np.sort(-counts, axis=1)
    excess = (np.cumsum(ordered, axis=1) - total) / np.arange(1, counts.shape[1] + 1)
    last = (ordered > excess).sum(axis=1, keepdims=True) - 1
    return np.asarray(np.maximum(counts - np.take_along_axis(excess, last, axis=1), 0.0))


def _figures(ham: Floats, spam: Floats) -> dict[str, Floats]:
    """ROC AUC, average precision and F1 of counts (draws, bins), (draws,) each."""
    hams, spams = ham.sum(axis=1), spam.sum(axis=1)
    below = np.cumsum(ham, axis=1) - ham / 2
    caught, flagged = _from_the_top(spam), _from_the_top(spam + ham)
    precision = caught / np.maximum(flagged, 1e-9)
    true = spam[:, _THRESHOLD:].sum(axis=1)
    wrong = ham[:, _THRESHOLD:].sum(axis=1) + spams - true
    return {
        "roc_auc": (spam * below).sum(axis=1) / (hams * spams),
        "average_precision": (spam[:, ::-1] * precision).sum(axis=1) / spams,
        "f1": 2 * true / (2 * true + wrong),
    }


def _from_the_top(counts: Floats) -> Floats:
    return np.cumsum(counts[:, ::-1], axis=1)
