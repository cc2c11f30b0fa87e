"""What the coordinator tells of a round: one record, made once, read by every display and file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from shared.commands import Progress
from shared.metrics import Metrics

if TYPE_CHECKING:  # `status` shows a table without waiting for torch
    from shared.vectors import Vector


@dataclass(frozen=True)
class NodeRound:
    """One node's part in a round. Times are in seconds, sizes in bytes.

    loss: mean training loss in the last local epoch, in nats a row.
    seconds_waiting: the node was not working for this round: it waited for its trainer, and for
        slower nodes.
    seconds_transfer: states and messages on their way.
    """

    node: str
    rows: int
    loss: float
    metrics: Metrics
    seconds_waiting: float
    seconds_training: float
    seconds_evaluating: float
    seconds_transfer: float
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True)
class Round:
    """One completed round.

    number: 1-based.
    loss: the nodes' training losses, weighted by rows.
    metrics: over the held-out rows of all owners together.
    seconds: from the end of the round before to the end of this one's evaluation; the first round
        begins with sending the state.
    seconds_outside: of these, all that was not the slowest node's local training.
    """

    number: int
    rounds: int
    loss: float
    metrics: Metrics
    nodes: tuple[NodeRound, ...]
    seconds: float
    seconds_outside: float

    def rows(self) -> list[dict[str, Any]]:
        """A flat dictionary for each node, then one for all nodes together (node "*")."""
        each = [_flat(self.number, record) for record in self.nodes]
        total = {
            "round": self.number,
            "node": "*",
            "rows": sum(record.rows for record in self.nodes),
            "loss": self.loss,
            **_prefixed(self.metrics),
            "seconds": self.seconds,
            "seconds_outside_training": self.seconds_outside,
            "bytes_sent": sum(record.bytes_sent for record in self.nodes),
            "bytes_received": sum(record.bytes_received for record in self.nodes),
        }
        return [*each, total]


def _flat(number: int, record: NodeRound) -> dict[str, Any]:
    values = {name: value for name, value in vars(record).items() if name != "metrics"}
    return {"round": number, **values, **_prefixed(record.metrics)}


def _prefixed(metrics: Metrics) -> dict[str, Any]:
    return {f"held_out_{name}": value for name, value in metrics.as_dict().items()}


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


def round_line(record: Round) -> str:
    """One round in one line, for logs."""
    metrics = record.metrics
    size = sum(node.bytes_sent + node.bytes_received for node in record.nodes)
    return (
        f"round {record.number:>{len(str(record.rounds))}}/{record.rounds}"
        f"  loss {record.loss:.4f}  AUC {percent(metrics.roc_auc)} %"
        f"  AP {percent(metrics.average_precision)} %  F1 {percent(metrics.f1)} %"
        f"  {record.seconds:.2f} s  {megabytes(size)} MB"
    )


class Observer(Protocol):
    """Whoever follows a run: a display, a run folder. Called in the coordinator's event loop."""

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """A node began a stage ("sending", "training", "fetching", "evaluating", "waiting"), or
        made progress in its training."""

    def on_round(self, record: Round, state: Vector) -> None:
        """A round is complete; `state` (P,) is the aggregated one."""
