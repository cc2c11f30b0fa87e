"""What the coordinator tells of a round: one record, made once, read by every display and file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from shared.model.metrics import Metrics, ScoreSummary
from shared.wire.commands import Progress

if TYPE_CHECKING:  # `status` shows a table without waiting for torch
    from shared.model.vectors import Vector


@dataclass(frozen=True)
class NodeRound:
    """One node's part in a round. Times are in seconds, sizes in bytes.

    rows, loss, metrics: None in a round of which the coordinator saw sums alone.
    loss: mean training loss in the last local epoch, in nats a row.
    seconds_waiting: the node was not working for this round: it waited for its trainer, and for
        slower nodes.
    seconds_transfer: states and messages on their way.
    left_out: why its result is not in the aggregate, or its rows not in the metrics; "" where
        they are.
    rows_counted, held_out_rows_counted: how many of its rows count, of those that it claims
        (server/rounds/claims.py); None in the records of versions that did not tell.
    """

    node: str
    rows: int | None
    loss: float | None
    metrics: Metrics | None
    seconds_waiting: float
    seconds_training: float
    seconds_evaluating: float
    seconds_transfer: float
    bytes_sent: int
    bytes_received: int
    left_out: str = ""
    rows_counted: int | None = None
    held_out_rows_counted: int | None = None

    @classmethod
    def of(
        cls,
        node: str,
        rows: int | None,
        loss: float | None,
        metrics: Metrics | None,
        seconds: float,
        *,
        training: float,
        evaluating: float,
        transfer: float,
        bytes_sent: int,
        bytes_received: int,
        left_out: str = "",
        rows_counted: int | None = None,
        held_out_rows_counted: int | None = None,
    ) -> NodeRound:
        """A node's part in a round that took so many seconds; what it was not busy, it waited.

        Args:
            rows_counted, held_out_rows_counted: None counts all that it claims.
        """
        held_out = held_out_rows_counted
        if held_out is None and metrics is not None:
            held_out = metrics.rows
        return cls(
            node=node,
            rows=rows,
            loss=loss,
            metrics=metrics,
            seconds_waiting=max(0.0, seconds - (training + evaluating + transfer)),
            seconds_training=training,
            seconds_evaluating=evaluating,
            seconds_transfer=transfer,
            bytes_sent=bytes_sent,
            bytes_received=bytes_received,
            left_out=left_out,
            rows_counted=rows if rows_counted is None else rows_counted,
            held_out_rows_counted=held_out,
        )

    @property
    def weight(self) -> int:
        """The rows that it counts for in the loss of the round; 0 where they were not seen."""
        return (self.rows if self.rows_counted is None else self.rows_counted) or 0


@dataclass(frozen=True)
class Round:
    """One completed round.

    number: 1-based.
    loss: the nodes' training losses, weighted by the rows that count.
    metrics: over the held-out rows of all owners together, as far as they count.
    seconds: from the end of the round before to the end of this one's evaluation; the first round
        begins with sending the state.
    seconds_outside: of these, all that was not local training.
    left_out: why nodes that were asked took no part, by node id.
    summed_rows: of all nodes together, where the coordinator saw sums alone; None where it saw each
        node's.
    scores: the counts that `metrics` are of; None where nobody evaluated, and of a round that was
        read from a run folder, which keeps the newest round's alone.
    """

    number: int
    rounds: int
    loss: float
    metrics: Metrics
    nodes: tuple[NodeRound, ...]
    seconds: float
    seconds_outside: float
    left_out: Mapping[str, str] = field(default_factory=dict)
    summed_rows: int | None = None
    scores: ScoreSummary | None = field(default=None, compare=False, repr=False)

    @property
    def is_secure(self) -> bool:
        """Whether the coordinator saw sums alone."""
        return self.summed_rows is not None

    @classmethod
    def of_sum(
        cls,
        number: int,
        rounds: int,
        nodes: Sequence[NodeRound],
        metrics: Metrics,
        seconds: float,
        *,
        rows: int,
        loss: float,
        seconds_training: float,
        left_out: Mapping[str, str] | None = None,
    ) -> Round:
        """The record of a round of which the coordinator saw sums alone; the rest as of `of`."""
        return cls(
            number=number,
            rounds=rounds,
            loss=loss,
            metrics=metrics,
            nodes=tuple(nodes),
            seconds=seconds,
            seconds_outside=seconds - seconds_training,
            left_out=left_out or {},
            summed_rows=rows,
        )

    @classmethod
    def of(
        cls,
        number: int,
        rounds: int,
        nodes: Sequence[NodeRound],
        metrics: Metrics,
        seconds: float,
        *,
        seconds_training: float,
        left_out: Mapping[str, str] | None = None,
    ) -> Round:
        """The record of a round from its nodes' parts.

        Args:
            seconds_training: how much of `seconds` was local training: that of the slowest node
                where all train at the same time, of all together where one follows the other.
        """
        weight = sum(node.weight for node in nodes)
        return cls(
            number=number,
            rounds=rounds,
            loss=sum((node.loss or 0.0) * node.weight for node in nodes) / weight,
            metrics=metrics,
            nodes=tuple(nodes),
            seconds=seconds,
            seconds_outside=seconds - seconds_training,
            left_out=left_out or {},
        )

    @property
    def without(self) -> dict[str, str]:
        """Why nodes that were asked are not in the model, or not in the metrics, by node id."""
        refused = {node.node: node.left_out for node in self.nodes if node.left_out}
        return {**self.left_out, **refused}

    def rows(self) -> list[dict[str, Any]]:
        """A flat dictionary for each node, then one for all nodes together (node "*").

        A node that took no part has a row of its number, its name and the reason.
        """
        each = [_flat(self.number, record) for record in self.nodes]
        each += [
            {"round": self.number, "node": node, "left_out": why}
            for node, why in sorted(self.left_out.items())
        ]
        total = {
            "round": self.number,
            "node": "*",
            "secure_aggregation": self.is_secure,
            **self._summed(),
            "held_out_rows_counted": self.metrics.rows,
            "loss": self.loss,
            **_prefixed(self.metrics),
            "seconds": self.seconds,
            "seconds_outside_training": self.seconds_outside,
            "nodes": [record.node for record in self.nodes if not record.left_out],
            "left_out": self.without,
            "bytes_sent": sum(record.bytes_sent for record in self.nodes),
            "bytes_received": sum(record.bytes_received for record in self.nodes),
        }
        return [*each, total]

    def _summed(self) -> dict[str, int]:
        if self.summed_rows is not None:
            return {"rows": self.summed_rows, "rows_counted": self.summed_rows}
        return {
            "rows": sum(record.rows or 0 for record in self.nodes),
            "rows_counted": sum(record.weight for record in self.nodes),
        }


def _flat(number: int, record: NodeRound) -> dict[str, Any]:
    values = {name: value for name, value in vars(record).items() if name != "metrics"}
    return {"round": number, **values, **_prefixed(record.metrics)}


def round_from_rows(rows: list[dict[str, Any]], rounds: int) -> Round:
    """The round that gave these rows.

    Raises:
        KeyError, TypeError, StopIteration: they are not a round's.
    """
    total = next(row for row in rows if row["node"] == "*")
    nodes = tuple(
        NodeRound(
            **{name: row[name] for name in _AS_THEY_ARE},
            rows_counted=row.get("rows_counted"),
            held_out_rows_counted=row.get("held_out_rows_counted"),
            metrics=None if row["rows"] is None else _unprefixed(row),
        )
        for row in rows
        if row["node"] != "*" and "rows" in row
    )
    took_part = {node.node for node in nodes}
    return Round(
        number=total["round"],
        rounds=rounds,
        loss=total["loss"],
        metrics=_unprefixed(total),
        nodes=nodes,
        seconds=total["seconds"],
        seconds_outside=total["seconds_outside_training"],
        left_out={node: why for node, why in total["left_out"].items() if node not in took_part},
        summed_rows=total["rows"] if total.get("secure_aggregation") else None,
    )


# Asked for once: a run of 1,000 rounds and 100 owners has 101,000 rows.
_AS_THEY_ARE = tuple(
    each.name
    for each in fields(NodeRound)
    # metrics have another treatment, and what older versions did not tell
    if each.name not in ("metrics", "rows_counted", "held_out_rows_counted")
)
_FIGURES = {each.name: f"held_out_{each.name}" for each in fields(Metrics)}


def _unprefixed(row: dict[str, Any]) -> Metrics:
    return Metrics(**{name: row[key] for name, key in _FIGURES.items()})


def _prefixed(metrics: Metrics | None) -> dict[str, Any]:
    if metrics is None:
        return {f"held_out_{each.name}": None for each in fields(Metrics)}
    return {f"held_out_{name}": value for name, value in metrics.as_dict().items()}


Proceed = Callable[[Round], Awaitable[bool]]
"""Awaited after each round, the last one too; False ends the run there, in good order."""


class Observer(Protocol):
    """Whoever follows a run: a display, a run folder. Called in the coordinator's event loop."""

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """A node began a stage ("sending", "training", "fetching", "evaluating", "waiting"), or
        made progress in its training or evaluation."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        """A node is out or back (`text` says which, and why), or a round waits for nodes ("")."""

    def on_round(self, record: Round, state: Vector) -> None:
        """A round is complete; `state` (P,) is the aggregated one."""
