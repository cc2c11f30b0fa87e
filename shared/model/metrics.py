"""How good a model is, from counts that may leave a node.

A node never sends a score of a single message. It sorts its logits into bins and sends, for each
class, how many fell into each bin, and the sum of the losses. Such summaries of many nodes merge
by adding, and every figure here follows from the merged counts: as exact as the bins are narrow,
and exactly what the same scores rounded to their bins would give. The 0.5 threshold is the edge
between two bins, so accuracy, precision, recall, F1 and the confusion matrix are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import mul

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

LOWEST = -16.0
HIGHEST = 16.0
BINS_PER_LOGIT = 64
BINS = int((HIGHEST - LOWEST) * BINS_PER_LOGIT)
_THRESHOLD = BINS // 2  # the bin that begins at logit 0, which is probability 0.5
MAX_SCORED = 2**53
"""Rows of a summary must be fewer: sums of fewer are exact, as int64 and as doubles."""


@dataclass(frozen=True, eq=False)
class ScoreSummary:
    """What a node tells about a model on its rows.

    ham, spam: messages of that class by bin of their logit, (BINS,) int64.
    loss_sum: binary cross-entropy in nats, summed over the rows.

    Raises:
        ValueError: a count is below 0, or there are MAX_SCORED rows or more.
    """

    ham: Counts
    spam: Counts
    loss_sum: float

    def __post_init__(self) -> None:
        for counts in (self.ham, self.spam):
            if counts.size and counts.min() < 0:
                raise ValueError("a count of rows is below 0")
        # As doubles, which round where int64 would wrap to something below the bound.
        rows = self.ham.sum(dtype=np.float64) + self.spam.sum(dtype=np.float64)
        if rows >= MAX_SCORED:
            raise ValueError(f"{rows:.3g} rows are more than can be counted")

    @property
    def rows(self) -> int:
        return int(self.ham.sum() + self.spam.sum())


@dataclass(frozen=True)
class Metrics:
    """Figures of one model on one set of rows; spam is the positive class.

    None stands for a figure that the rows cannot tell: the curves need both classes, the loss
    needs a row, and a ratio a denominator: no spam has no recall, nothing flagged no precision.
    """

    rows: int
    loss: float | None
    roc_auc: float | None
    average_precision: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    true_negatives: int
    false_positives: int
    false_negatives: int
    true_positives: int

    @property
    def mcc(self) -> float | None:
        """Matthews' correlation coefficient, -1 to 1; None where rows or verdicts are of one kind.

        B. W. Matthews, Biochimica et Biophysica Acta 405 (1975), 442-451.
        """
        tn, fp = self.true_negatives, self.false_positives
        fn, tp = self.false_negatives, self.true_positives
        # as Python's integers, which do not wrap
        square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        return (tp * tn - fp * fn) / math.sqrt(square) if square else None

    def as_dict(self) -> dict[str, float | int | None]:
        """All figures, by name."""
        return {**vars(self), "mcc": self.mcc}


def bin_of(logits: npt.NDArray[np.floating]) -> Counts:
    """The bin of each logit (rows,); what lies outside is counted in the first or last bin.

    Raises:
        ValueError: a logit is no finite number.
    """
    if not np.isfinite(logits).all():
        raise ValueError("a logit is no finite number")
    clamped = np.clip(logits.astype(np.float64), LOWEST, HIGHEST)
    # scaled before it is shifted: a power of two keeps a tiny negative logit below the threshold
    bins = np.floor(clamped * BINS_PER_LOGIT).astype(np.int64) + _THRESHOLD
    return np.minimum(bins, BINS - 1)


def summarise(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer] | npt.NDArray[np.floating]
) -> ScoreSummary:
    """Logits (rows,) and labels (rows,) of 0 and 1 as counts and a summed loss."""
    bins = bin_of(logits)
    spam = labels.astype(bool)
    exact = logits.astype(np.float64)
    # log(1 + e^x) - x y, without overflow
    losses = np.logaddexp(0.0, exact) - exact * spam
    return ScoreSummary(
        ham=np.bincount(bins[~spam], minlength=BINS),
        spam=np.bincount(bins[spam], minlength=BINS),
        loss_sum=float(losses.sum()),
    )


def auc_error(auc: float, spam: int, ham: int) -> float | None:
    """The standard error of a ROC AUC (0 to 1) by the number of rows that it is of.

    None where a class has no row. Of scores that are distributed exponentially, which is near
    enough for others: J. A. Hanley and B. J. McNeil, Radiology 143 (1982), 29-36, equation 1.
    """
    if not spam or not ham:
        return None
    two_spam = auc / (2 - auc)  # both score above one ham
    two_ham = 2 * auc**2 / (1 + auc)
    whole = auc * (1 - auc) + (spam - 1) * (two_spam - auc**2) + (ham - 1) * (two_ham - auc**2)
    return math.sqrt(max(0.0, whole) / (spam * ham))


def merge(summaries: Iterable[ScoreSummary]) -> ScoreSummary:
    """One summary of the rows of all; of no rows where there are none. Inputs stay as they are.

    Raises:
        ValueError: together they have MAX_SCORED rows or more.
    """
    merged = ScoreSummary(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), 0.0)
    for each in summaries:
        ham, spam = merged.ham + each.ham, merged.spam + each.spam
        merged = ScoreSummary(ham, spam, merged.loss_sum + each.loss_sum)
    return merged


def counting_for(summary: ScoreSummary, rows: int) -> ScoreSummary:
    """A summary of fewer rows with the same scores: each count shrinks alike, to a whole number.

    Counted through from the first bin of ham to the last of spam, every count so far is rounded
    down, so that none is off by as much as 1, and all together are `rows`.

    Args:
        rows: 0 to as many as the summary has.
    """
    have = summary.rows
    if rows == have:
        return summary
    so_far = np.cumsum(np.concatenate([summary.ham, summary.spam])).astype(object)
    shrunk = np.diff(so_far * rows // have, prepend=0).astype(np.int64)
    return ScoreSummary(shrunk[:BINS], shrunk[BINS:], summary.loss_sum * rows / have)


def metrics_from(summary: ScoreSummary) -> Metrics:
    """All figures of a summary."""
    rows = summary.rows
    tn, fp = _split(summary.ham)
    fn, tp = _split(summary.spam)
    return Metrics(
        rows=rows,
        loss=summary.loss_sum / rows if rows else None,
        roc_auc=_roc_auc(summary),
        average_precision=_average_precision(summary),
        accuracy=(tn + tp) / rows if rows else None,
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        true_negatives=tn,
        false_positives=fp,
        false_negatives=fn,
        true_positives=tp,
    )


def _split(counts: Counts) -> tuple[int, int]:
    return int(counts[:_THRESHOLD].sum()), int(counts[_THRESHOLD:].sum())


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _roc_auc(summary: ScoreSummary) -> float | None:
    """The share of (ham, spam) pairs with the spam scored higher; a shared bin counts half."""
    pairs = int(summary.ham.sum()) * int(summary.spam.sum())
    if not pairs:
        return None
    where = np.flatnonzero(summary.spam)
    twice_below = (2 * np.cumsum(summary.ham) - summary.ham)[where]
    # As Python's integers: a product of two counts need not fit 64 bits.
    won = sum(map(mul, summary.spam[where].tolist(), twice_below.tolist()))
    return float(won / (2 * pairs))


def _average_precision(summary: ScoreSummary) -> float | None:
    """Precision at each threshold, weighted by the recall gained there (no interpolation)."""
    spam, ham = int(summary.spam.sum()), int(summary.ham.sum())
    if not spam or not ham:
        return None
    caught = np.cumsum(summary.spam[::-1])
    flagged = np.cumsum((summary.spam + summary.ham)[::-1])
    used = flagged > 0
    gained = summary.spam[::-1][used] / spam
    return float((gained * caught[used] / flagged[used]).sum())
