"""How sure a gain is: the bootstrap over an owner's own held-out rows, drawn at the node.

The rows are drawn again RESAMPLES times, as many as there are, each time with replacement, and both
models are measured on the same drawn rows: what is easy or hard about a row then weighs on neither
side. The interval is from the 2.5th to the 97.5th percentile of the gains.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.model.comparison import FIGURES, SCALE
from shared.model.metrics import BINS, Counts

RESAMPLES = 1000
FEWEST = 5
"""Rows of each class without which there is no interval."""
_AT_ONCE = 2**21
"""Numbers that are drawn at a time; more would be memory for nothing."""
_PERCENTILES = (2.5, 97.5)

Draws = npt.NDArray[np.float64]


def bounds_of(
    alone: Counts, federated: Counts, labels: npt.NDArray[np.integer], seed: int
) -> dict[str, tuple[int, int]]:
    """The interval of each figure's gain, in 1 / SCALE, by the figure's name.

    Args:
        alone, federated: the bin of each row's logit by that model, (rows,).
        labels: 0 for ham, 1 for spam, (rows,).
        seed: of the drawing; the same inputs and seed give the same intervals.

    Returns:
        No interval of a figure that half of the draws or more cannot tell; and none at all where
        there are fewer than FEWEST rows of a class, of which draws say too little.
    """
    if np.bincount(labels, minlength=2).min() < FEWEST:
        return {}
    # Rows that both models give the same bin are one cell: drawing cells is drawing rows.
    rows = np.stack([labels.astype(np.int64), alone, federated])
    cells, counts = np.unique(rows, axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    at_once = max(1, _AT_ONCE // len(counts))
    gains: dict[str, list[Draws]] = {name: [] for name in FIGURES}
    for begin in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - begin)
        drawn = generator.multinomial(len(labels), counts / len(labels), size=size)
        first, second = (figures_of_draws(drawn, cells[0], bins) for bins in cells[1:])
        for name in FIGURES:
            gains[name].append(second[name] - first[name])
    found = {name: _interval(np.concatenate(each)) for name, each in gains.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def figures_of_draws(
    drawn: npt.NDArray[np.integer], labels: Counts, bins: Counts
) -> dict[str, Draws]:
    """The figures of shared/model/comparison.py for each draw, (draws,); NaN where it has none.

    Args:
        drawn: how often each cell was drawn, (draws, cells).
        labels, bins: of each cell, (cells,).
    """
    order = np.argsort(bins, kind="stable")
    ordered = bins[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    by_class = [
        np.add.reduceat(drawn[:, order] * (labels[order] == label), begins, axis=1, dtype=float)
        for label in (0, 1)
    ]
    ham, spam = by_class  # (draws, bins that hold rows)
    is_flagged = ordered[begins] >= BINS // 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "roc_auc": _roc_auc(ham, spam),
            "average_precision": _average_precision(ham, spam),
            "best_f1": _best_f1(ham, spam),
            "mcc": _mcc(ham, spam, is_flagged),
        }


def _roc_auc(ham: Draws, spam: Draws) -> Draws:
    won = (spam * (np.cumsum(ham, axis=1) - ham / 2)).sum(axis=1)
    return np.asarray(won / (ham.sum(axis=1) * spam.sum(axis=1)))


def _average_precision(ham: Draws, spam: Draws) -> Draws:
    caught, flagged = _from_above(ham, spam)
    precision = np.where(flagged > 0, caught / flagged, 0.0)
    total = spam.sum(axis=1)
    found = (spam[:, ::-1] * precision).sum(axis=1) / total
    return np.where(ham.sum(axis=1) > 0, found, np.nan)


def _best_f1(ham: Draws, spam: Draws) -> Draws:
    caught, flagged = _from_above(ham, spam)
    total = spam.sum(axis=1)
    best = (2 * caught / (flagged + total[:, np.newaxis])).max(axis=1)
    return np.where(total > 0, best, np.nan)


def _mcc(ham: Draws, spam: Draws, is_flagged: npt.NDArray[np.bool_]) -> Draws:
    fp, tp = ham[:, is_flagged].sum(axis=1), spam[:, is_flagged].sum(axis=1)
    tn, fn = ham.sum(axis=1) - fp, spam.sum(axis=1) - tp
    # roots one by one: a product of four counts need not fit a double exactly
    root = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return np.asarray((tp * tn - fp * fn) / root)


def _from_above(ham: Draws, spam: Draws) -> tuple[Draws, Draws]:
    """Spam and rows that are flagged from each threshold on, the highest one first."""
    caught = np.cumsum(spam[:, ::-1], axis=1)
    return caught, caught + np.cumsum(ham[:, ::-1], axis=1)


def _interval(gains: Draws) -> tuple[int, int] | None:
    known = gains[np.isfinite(gains)]
    if 2 * len(known) <= len(gains):
        return None
    low, high = (round(float(one) * SCALE) for one in np.percentile(known, _PERCENTILES))
    return low, high
