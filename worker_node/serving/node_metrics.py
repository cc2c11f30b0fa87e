"""A node for Prometheus: what it was asked and what it did, counted; of its rows nothing.

Neither numbers of rows nor of labels, nor losses, nor names of coordinators are among them. What
they tell all the same is in docs/watching.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.prometheus import Names, amount
from worker_node.audit.lines import Entry
from worker_node.node import DataOwnerNode

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MAX_KINDS = 30
"""Kinds of requests that are told apart."""


class NodeMetrics:
    """Of one node. Args: registry: where its figures go."""

    def __init__(self, node: DataOwnerNode, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        self._kinds = Names(MAX_KINDS)
        self._requests = Counter(
            "fedsms_node_requests",
            "Requests, by kind and by what became of them.",
            ("what", "decision"),
            registry=registry,
        )
        self._sent = Counter(
            "fedsms_node_sent_bytes", "Answers and events that left.", registry=registry
        )
        guard = node.guard
        states = {
            "busy": ("Whether it works for a coordinator.", lambda: bool(node.busy_with)),
            "paused": ("Whether its owner has paused it.", lambda: guard.pause.since is not None),
            "well": ("Whether its trainer has not died.", lambda: node.trainer.condition != "died"),
        }
        for name, (words, state) in states.items():
            Gauge(f"fedsms_node_{name}", words, registry=registry).set_function(state)
        before = guard.on_record

        def taken(entry: Entry) -> None:
            before(entry)
            self.take(entry)

        guard.on_record = taken

    def take(self, entry: Entry) -> None:
        """Counts a line of the audit log; the node's own lines, and beginnings, are no requests."""
        if entry.address and entry.decision != "began":
            self._requests.labels(self._kinds.of(entry.what), entry.decision).inc()
            self._sent.inc(amount(entry.bytes_out))
