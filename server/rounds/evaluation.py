"""Federated evaluation: nodes' counts per score bin, merged into metrics per node and overall.

No label and no score of a row leaves a node. What does: for each class, how many held-out rows
have a logit in each bin; see shared/model/metrics.py for what is exact about the result. How many
rows a node holds out is its claim, and counts in the overall figures as far as
server/rounds/claims.py lets it; a node's own figures are over all that it claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from server.rounds.claims import counted_rows
from shared.errors import NodeFailed
from shared.model.metrics import (
    BINS,
    Counts,
    Metrics,
    ScoreSummary,
    counting_for,
    merge,
    metrics_from,
)
from shared.wire.commands import MAX_ROWS, EvaluateReport


@dataclass(frozen=True)
class Evaluation:
    """Figures of one state.

    overall: over the rows that the nodes count for; scores: their counts, None where no node
        evaluated. each: over all rows of a node, by node id.
    counted: how many held-out rows a node counts for in `overall`, by node id.
    """

    overall: Metrics
    each: Mapping[str, Metrics] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    scores: ScoreSummary | None = None

    @property
    def cut(self) -> dict[str, tuple[int, int]]:
        """Whose claim counts for less: the rows claimed and the rows that count, by node id."""
        return {
            node: (metrics.rows, self.counted[node])
            for node, metrics in self.each.items()
            if self.counted[node] < metrics.rows
        }


def evaluated(reports: Mapping[str, EvaluateReport], rows_bound: float) -> Evaluation:
    """Overall metrics, and each node's own.

    Args:
        reports: by node id.
        rows_bound: the recipe's; 0 sets none.

    Raises:
        NodeFailed: a node's counts are impossible.
    """
    summaries = {node: summary_of(node, reports[node]) for node in sorted(reports)}
    claims = {node: summary.rows for node, summary in summaries.items()}
    counted = counted_rows(claims, rows_bound)
    overall = merge(counting_for(summary, counted[node]) for node, summary in summaries.items())
    each = {node: metrics_from(summary) for node, summary in summaries.items()}
    return Evaluation(metrics_from(overall), each, counted, overall)


def summary_of(node: str, report: EvaluateReport, rows: int | None = None) -> ScoreSummary:
    """A node's counts.

    Args:
        rows: how many held-out rows there must be; None where that was checked already.

    Raises:
        NodeFailed: they are impossible.
    """
    if not 0 <= report.loss_sum < float("inf"):
        raise NodeFailed(f"node {node} sent an impossible loss", f"a sum of {report.loss_sum:g}")
    ham, spam = _dense(node, report.ham), _dense(node, report.spam)
    counted = int(ham.sum() + spam.sum())
    if counted > MAX_ROWS or rows not in (None, counted):
        whole = f"{MAX_ROWS:,} at most" if rows is None else f"{rows:,}"
        raise NodeFailed(f"node {node} sent impossible counts", f"{counted:,} rows of {whole}")
    if not counted and report.loss_sum:
        raise NodeFailed(f"node {node} sent an impossible loss", "it held no rows out")
    return ScoreSummary(ham, spam, report.loss_sum)


def _dense(node: str, sparse: Mapping[int, int]) -> Counts:
    """Counts (BINS,) of all bins."""
    counts = np.zeros(BINS, np.int64)
    for bin_number, count in sparse.items():
        if not 0 <= bin_number < BINS or not 0 < count <= MAX_ROWS:
            raise NodeFailed(f"node {node} sent impossible counts", f"{count} in bin {bin_number}")
        counts[bin_number] = count
    return counts
