"""What one node does in a round, as it is found out, and the record that it becomes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from server.nodes.link import Link
from server.rounds.records import NodeRound
from shared.model.metrics import Metrics, ScoreSummary, merge, metrics_from
from shared.wire.commands import EvaluateReport, TrainReport


@dataclass
class NodePart:
    """One node's part in one round. Seconds and bytes add up over all its connections.

    left_out: why its result is not in the aggregate, or its rows not in the metrics.
    """

    node: str
    bytes_sent: int = 0
    bytes_received: int = 0
    transfer: float = 0.0
    report: TrainReport | None = None
    evaluation: EvaluateReport | None = None
    left_out: str = ""

    @contextmanager
    def measured(self, link: Link) -> Iterator[None]:
        """Adds the seconds and bytes of a block."""
        started, sent, received = time.perf_counter(), link.bytes_sent, link.bytes_received
        try:
            yield
        finally:
            self.transfer += time.perf_counter() - started
            self.bytes_sent += link.bytes_sent - sent
            self.bytes_received += link.bytes_received - received

    def record(self, metrics: Mapping[str, Metrics], seconds: float) -> NodeRound:
        """The node's part, once it has trained.

        Args:
            metrics: by node id; a node that is not there has not evaluated.
            seconds: of the whole round.
        """
        report, evaluation = self.report, self.evaluation
        assert report is not None
        return NodeRound.of(
            seconds,
            node=self.node,
            rows=report.rows,
            loss=report.loss,
            metrics=metrics.get(self.node) or metrics_from(merge(no_rows())),
            seconds_training=report.seconds_training,
            seconds_evaluating=evaluation.seconds_evaluating if evaluation is not None else 0.0,
            seconds_transfer=max(0.0, self.transfer),
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            left_out=self.left_out,
        )


def evaluations(parts: Iterable[NodePart]) -> dict[str, EvaluateReport]:
    """The reports of those who have evaluated, by node id."""
    return {part.node: part.evaluation for part in parts if part.evaluation is not None}


def no_rows() -> Iterable[ScoreSummary]:
    return ()
