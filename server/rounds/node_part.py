"""What one node does in a round, as it is found out, and the record that it becomes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from server.nodes.link import Link
from server.rounds.evaluation import Evaluation
from server.rounds.records import NodeRound
from shared.model.metrics import merge, metrics_from
from shared.wire.commands import TRAIN, EvaluateReport, SecureReport, TrainReport


class _Times(TypedDict):
    training: float
    evaluating: float
    transfer: float
    bytes_sent: int
    bytes_received: int


@dataclass
class NodePart:
    """One node's part in one round. Seconds and bytes add up over all its connections.

    left_out: why its result is not in the aggregate, or its rows not in the metrics.
    rows_counted: what its rows count for (server/rounds/claims.py).
    asked: when it was first asked for what, by command.
    training, evaluating: seconds of work that the node told of.
    """

    node: str
    bytes_sent: int = 0
    bytes_received: int = 0
    transfer: float = 0.0
    report: TrainReport | None = None
    evaluation: EvaluateReport | None = None
    left_out: str = ""
    rows_counted: int = 0
    asked: dict[str, float] = field(default_factory=dict)
    training: float = 0.0
    evaluating: float = 0.0

    def asks(self, command: str) -> None:
        """Notes when a command is asked of it for the first time in the round."""
        self.asked.setdefault(command, time.perf_counter())

    def waited(self, command: str) -> float:
        """Seconds since then, over however many connections."""
        return time.perf_counter() - self.asked[command]

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

    def trained(self, report: TrainReport, rows_counted: int) -> None:
        """Takes what a node told of its training; what it worked and waited was no transfer."""
        self.training = report.seconds_training
        self.transfer -= report.seconds_training + report.seconds_waiting
        self.report, self.rows_counted = report, rows_counted

    def evaluated(self, report: EvaluateReport) -> None:
        """The same of its evaluation."""
        self.evaluating = report.seconds_evaluating
        self.transfer -= report.seconds_evaluating + report.seconds_waiting
        self.evaluation = report

    def worked(self, work: Literal["train", "evaluate"], report: SecureReport) -> None:
        """Takes what a node told of work whose numbers went into a secure sum."""
        self.transfer -= report.seconds_working + report.seconds_waiting
        if work == TRAIN:
            self.training = report.seconds_working
        else:
            self.evaluating = report.seconds_working

    def record_of_sum(self, seconds: float) -> NodeRound:
        """The node's part in a round of which the coordinator saw sums alone."""
        return NodeRound.of(
            self.node, None, None, None, seconds, **self._times(), left_out=self.left_out
        )

    def record(self, evaluation: Evaluation, seconds: float) -> NodeRound:
        """The node's part, once it has trained.

        Args:
            evaluation: the round's; a node that is not in it has not evaluated.
            seconds: of the whole round.
        """
        report = self.report
        assert report is not None
        return NodeRound.of(
            self.node,
            report.rows,
            report.loss,
            evaluation.each.get(self.node) or metrics_from(merge(())),
            seconds,
            **self._times(),
            left_out=self.left_out,
            rows_counted=self.rows_counted,
            held_out_rows_counted=evaluation.counted.get(self.node),
        )

    def _times(self) -> _Times:
        return {
            "training": self.training,
            "evaluating": self.evaluating,
            "transfer": max(0.0, self.transfer),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
        }


def evaluations(parts: Iterable[NodePart]) -> dict[str, EvaluateReport]:
    """The reports of those who have evaluated, by node id."""
    return {part.node: part.evaluation for part in parts if part.evaluation is not None}
