"""How well a score tells what is there from what is not: the figures of an attack."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating]
_BY_CHANCE = 1e-4
"""How often guessing may pass for more than guessing; of a single message, once in a hundred."""
_NEARLY_ALL = 0.99 - 1e-9


@dataclass(frozen=True)
class Recognised:
    """What an attack recognised, at the threshold at which it gains most.

    found, of: of what is there. false_alarms, decoys: of what is not. auc: area under the ROC
    curve, 0 to 1, whatever the threshold; 0.5 is guessing.
    by_chance: an advantage that guessing reaches, where scores hang together and Smirnov's
    statistic expects too little of it; 0 where they do not.
    """

    found: int
    of: int
    false_alarms: int
    decoys: int
    auc: float
    by_chance: float = 0.0

    @property
    def advantage(self) -> float:
        """Share of what is there that was found, less that of decoys, 0 to 1 (Yeom et al. 2018)."""
        return self.found / self.of - self.false_alarms / self.decoys

    @property
    def is_chance(self) -> bool:
        """Whether guessing would do as well.

        The advantage at the best threshold is Smirnov's one-sided statistic of two samples, of
        which it is known how large chance makes it (Smirnov 1939). Of one, two or three no
        statistic is as sure; all of them found, above all decoys, is no chance either.
        """
        together = self.of * self.decoys / (self.of + self.decoys)
        most = math.sqrt(-math.log(_BY_CHANCE) / (2 * together))
        return self.advantage <= max(min(most, _NEARLY_ALL), self.by_chance)


def recognised(there: Numbers, decoys: Numbers) -> Recognised:
    """The figures of scores: of what is there, (n,), and of what is not, (m,), neither empty."""
    thresholds = np.unique(np.concatenate([there, decoys]))
    found = len(there) - np.searchsorted(np.sort(there), thresholds, "left")
    alarms = len(decoys) - np.searchsorted(np.sort(decoys), thresholds, "left")
    best = int(np.argmax(found / len(there) - alarms / len(decoys)))
    return Recognised(
        int(found[best]), len(there), int(alarms[best]), len(decoys), auc(there, decoys)
    )


def auc(positive: Numbers, negative: Numbers) -> float:
    """Area under the ROC curve, 0 to 1, ties counted half; of two that are not empty."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.sum() / (2 * positive.size * negative.size))
