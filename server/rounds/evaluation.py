"""Federated evaluation: nodes' counts per score bin, merged into metrics per node and overall.

No label and no score of a row leaves a node. What does: for each class, how many held-out rows
have a logit in each bin; see shared/model/metrics.py for what is exact about the result.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shared.errors import NodeFailed
from shared.model.metrics import BINS, Counts, Metrics, ScoreSummary, merge, metrics_from
from shared.wire.commands import EvaluateReport

MOST_ROWS = 10**9
"""Rows in one bin beyond which a node's count is not believed."""


def merged_metrics(reports: Mapping[str, EvaluateReport]) -> tuple[Metrics, dict[str, Metrics]]:
    """Overall metrics, and each node's own.

    Args:
        reports: by node id.

    Raises:
        NodeFailed: a node's counts are impossible.
    """
    summaries = {node: summary_of(node, reports[node]) for node in sorted(reports)}
    each = {node: metrics_from(summary) for node, summary in summaries.items()}
    return metrics_from(merge(summaries.values())), each


def summary_of(node: str, report: EvaluateReport) -> ScoreSummary:
    """A node's counts. Raises NodeFailed where they are impossible."""
    if not np.isfinite(report.loss_sum):
        raise NodeFailed(f"node {node} sent a loss that is not finite")
    return ScoreSummary(_dense(node, report.ham), _dense(node, report.spam), report.loss_sum)


def _dense(node: str, sparse: Mapping[int, int]) -> Counts:
    """Counts (BINS,) of all bins."""
    counts = np.zeros(BINS, np.int64)
    for bin_number, count in sparse.items():
        if not 0 <= bin_number < BINS or not 0 < count <= MOST_ROWS:
            raise NodeFailed(f"node {node} sent impossible counts", f"{count} in bin {bin_number}")
        counts[bin_number] = count
    return counts
