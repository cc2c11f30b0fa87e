"""Runs for Prometheus, as an Observer of them.

Names and units are by https://prometheus.io/docs/practices/naming/. Of rounds of which the
coordinator saw sums alone there is nothing by node. Nodes have names of their own choice: so many
are told apart, and the others are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.rounds.records import NodeRound, Round
from shared.errors import Interrupted
from shared.prometheus import OTHERS, Names, amount
from shared.wire.commands import Progress

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from shared.model.vectors import Vector

MAX_NODES = 200
"""Nodes that are told apart."""
SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)
"""Upper bounds of a round's duration."""
FIGURES = {
    "roc_auc": "Area under the ROC curve",
    "average_precision": "Average precision",
    "f1": "F1",
    "mcc": "Matthews' correlation coefficient",
}


class RunMetrics:
    """All runs of a process. Args: registry: where its figures go."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter as Counts
        from prometheus_client import Gauge, Histogram

        def count(name: str, words: str, *labels: str) -> Counts:
            return Counts(f"fedsms_{name}", words, labels, registry=registry)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"fedsms_{name}", words, labels, registry=registry)

        self._names = Names(MAX_NODES)
        self._stages: dict[str, str] = {}
        self._ended = count("runs", "Runs that have ended, by how.", "status")
        self._under_way = gauge("runs_under_way", "Runs that go on.")
        self._rounds = count("rounds", "Rounds that are complete.")
        self._number = gauge("round_number", "The newest complete round of the newest run.")
        self._planned = gauge("rounds_planned", "Rounds that the newest run is to have.")
        self._seconds = Histogram(
            "fedsms_round_duration_seconds", "How long rounds took.", buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self._sent = count("sent_bytes", "To all nodes, in rounds that are complete.")
        self._received = count("received_bytes", "From all nodes, in rounds that are complete.")
        self._loss = gauge("training_loss_nats", "The newest round's training loss a row.")
        self._figures = {
            name: gauge(f"held_out_{name}", f"{words} of the newest round, of all held-out rows.")
            for name, words in FIGURES.items()
        }
        self._took_part = gauge("round_nodes", "Nodes in the newest round's model.")
        self._left_out = count("left_out", "Times that a node was left out of a round.")
        self._notices = count("notices", "Notices, such as of a node that is out or back.")
        self._at = gauge("nodes", "Nodes by what they do for the round.", "stage")
        self._by_node = {
            "rounds": count("node_rounds", "Rounds that a node was in.", "node"),
            "training": count("node_training_seconds", "That a node says it trained.", "node"),
            "transfer": count("node_transfer_seconds", "States and messages on the way.", "node"),
            "sent": count("node_sent_bytes", "To a node.", "node"),
            "received": count("node_received_bytes", "From a node.", "node"),
        }
        self._node_loss = gauge("node_training_loss_nats", "A node's newest training loss.", "node")
        self._node_auc = gauge("node_held_out_roc_auc", "On a node's own held-out rows.", "node")

    @contextmanager
    def running(self) -> Iterator[Callable[[str], None]]:
        """Counts the run that the context is; how it ends, what it gives is called with."""
        self._under_way.inc()
        status = "failed"

        def ends(how: str) -> None:
            nonlocal status
            status = how

        try:
            yield ends
        except Interrupted:
            status = "interrupted"
            raise
        finally:
            self._under_way.dec()
            self._ended.labels(status).inc()
            self._stages.clear()
            self._at.clear()

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        if self._stages.get(node) != stage:
            self._stages[node] = stage
            self._at.clear()
            for name, many in Counter(self._stages.values()).items():
                self._at.labels(name).set(many)

    def on_notice(self, number: int, node: str, text: str) -> None:
        self._notices.inc()

    def on_round(self, record: Round, state: Vector) -> None:
        self._rounds.inc()
        self._number.set(record.number)
        self._planned.set(record.rounds)
        self._seconds.observe(amount(record.seconds))
        self._sent.inc(sum(amount(part.bytes_sent) for part in record.nodes))
        self._received.inc(sum(amount(part.bytes_received) for part in record.nodes))
        self._loss.set(record.loss)
        for name, gauge in self._figures.items():
            value = getattr(record.metrics, name)
            gauge.set(float("nan") if value is None else value)
        self._took_part.set(sum(not part.left_out for part in record.nodes))
        self._left_out.inc(len(record.without))
        if not record.is_secure:
            for part in record.nodes:
                self._node(part)

    def _node(self, part: NodeRound) -> None:
        name = self._names.of(part.node)
        more = {
            "rounds": 1.0,
            "training": part.seconds_training,
            "transfer": part.seconds_transfer,
            "sent": part.bytes_sent,
            "received": part.bytes_received,
        }
        for what, value in more.items():
            self._by_node[what].labels(name).inc(amount(value))
        if name == OTHERS:
            return
        if part.loss is not None:
            self._node_loss.labels(name).set(part.loss)
        if part.metrics is not None and part.metrics.roc_auc is not None:
            self._node_auc.labels(name).set(part.metrics.roc_auc)
