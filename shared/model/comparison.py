"""Was it worth joining: figures of a model that an owner trained alone, and of the federated one.

Both are measured on the same held-out rows of one owner, which neither was trained on. The gain is
the federated model's figure less the other's, so above 0 it was worth it. How sure that is says an
interval that the owner's node draws from its own rows (worker_node/training/bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shared.model.metrics import ScoreSummary, metrics_from

FIGURES = ("roc_auc", "average_precision", "best_f1", "mcc")
"""What is compared, by name: areas under both curves, F1 at the threshold that is best for the
model on these rows, and MCC at probability 0.5."""
SCALE = 10_000
"""Bounds of an interval leave a node as whole numbers of 1 / SCALE."""
MOST_GAIN = 2 * SCALE
"""The largest gain there is, each way: of MCC from -1 to 1."""

Bounds = Mapping[str, tuple[int, int]]
"""The interval of each figure's gain, in 1 / SCALE; a figure that has none is not there."""


@dataclass(frozen=True)
class Gain:
    """One figure of both models on an owner's rows.

    alone, federated: None where the rows cannot tell it.
    low, high: the 95 % interval of the gain; None where there is none.
    """

    alone: float | None
    federated: float | None
    low: float | None = None
    high: float | None = None

    @property
    def gain(self) -> float | None:
        """The federated model's figure less the other's; None where one is not there."""
        if self.alone is None or self.federated is None:
            return None
        return self.federated - self.alone

    @property
    def is_better(self) -> bool:
        """Whether the whole interval lies above 0: joining was worth it."""
        return self.low is not None and self.low > 0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies below 0: the owner is better off alone."""
        return self.high is not None and self.high < 0


def gains_of(alone: ScoreSummary, federated: ScoreSummary, bounds: Bounds) -> dict[str, Gain]:
    """Each figure of both models, by name.

    Args:
        alone, federated: of the same rows.
    """
    first, second = figures_of(alone), figures_of(federated)
    found = {}
    for name in FIGURES:
        low, high = bounds.get(name, (None, None))
        found[name] = Gain(first[name], second[name], _whole(low), _whole(high))
    return found


def figures_of(summary: ScoreSummary) -> dict[str, float | None]:
    """The figures of one model, by name; None for one that the rows cannot tell."""
    metrics = metrics_from(summary)
    return {
        "roc_auc": metrics.roc_auc,
        "average_precision": metrics.average_precision,
        "best_f1": best_f1(summary),
        "mcc": metrics.mcc,
    }


def best_f1(summary: ScoreSummary) -> float | None:
    """F1 at the threshold where it is highest, of all edges between bins; None without spam.

    The threshold is chosen on the rows that it is measured on, which flatters every model alike.
    """
    spam = int(summary.spam.sum())
    if not spam:
        return None
    caught = np.cumsum(summary.spam[::-1], dtype=np.float64)
    flagged = caught + np.cumsum(summary.ham[::-1], dtype=np.float64)
    return float((2 * caught / (flagged + spam)).max())


def _whole(scaled: int | None) -> float | None:
    return None if scaled is None else scaled / SCALE
