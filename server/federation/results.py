"""What a federation answers: frozen, printable, readable in a notebook, and records for pandas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from server.display.comparison_table import comparison_table, verdict
from server.display.fitting import Fitted, as_text
from server.display.status_table import status_table
from server.display.tables import metrics_table, rounds_table
from server.display.words import percent, round_line
from server.federation.html import html_table
from server.nodes.status import NodeStatus
from server.rounds.comparison import Comparison, OwnerGains
from server.rounds.records import NodeRound, Round
from shared.errors import FedsmsError
from shared.model.metrics import Metrics
from shared.secure_aggregation.contents import FigureSum


class ByOwner(Mapping[str, Metrics]):
    """Metrics on each owner's held-out rows, by node id."""

    def __init__(self, each: Mapping[str, Metrics]) -> None:
        self._each = dict(each)

    def __getitem__(self, node: str) -> Metrics:
        return self._each[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._each)

    def __len__(self) -> int:
        return len(self._each)

    def __repr__(self) -> str:
        figures = (
            f"{node}: AUC {percent(one.roc_auc)} %, F1 {percent(one.f1)} %"
            for node, one in self._each.items()
        )
        return f"{{{'; '.join(figures)}}}"


@dataclass(frozen=True, repr=False)
class RoundResult:
    """One completed round.

    number: 1-based, of `rounds`. loss: training loss in nats a row, over all owners' rows.
    metrics: on the held-out rows of all owners together. by_owner: on each owner's; empty where
        secure aggregation let the coordinator see sums alone.
    left_out: why nodes that were asked are not in the model, or not in the metrics, by node id.
    seconds: that it took. bytes_sent, bytes_received: by the coordinator.
    nodes: each node's part, with its times and bytes.
    """

    number: int
    rounds: int
    loss: float
    metrics: Metrics
    by_owner: ByOwner
    left_out: Mapping[str, str]
    seconds: float
    bytes_sent: int
    bytes_received: int
    nodes: tuple[NodeRound, ...]
    record: Round

    @classmethod
    def of(cls, record: Round) -> RoundResult:
        return cls(
            number=record.number,
            rounds=record.rounds,
            loss=record.loss,
            metrics=record.metrics,
            by_owner=ByOwner({one.node: one.metrics for one in record.nodes if one.metrics}),
            left_out=record.without,
            seconds=record.seconds,
            bytes_sent=sum(node.bytes_sent for node in record.nodes),
            bytes_received=sum(node.bytes_received for node in record.nodes),
            nodes=record.nodes,
            record=record,
        )

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary a node, then one for all nodes (node "*"), as in metrics.jsonl."""
        return self.record.rows()

    def __repr__(self) -> str:
        return round_line(self.record)

    def table(self) -> Fitted:
        """The metrics, a row an owner."""
        title = f"Round {self.number} of {self.rounds}: metrics on held-out rows"
        return metrics_table(title, self.by_owner, self.metrics)

    def _repr_html_(self) -> str:
        return html_table(self.table())


@dataclass(frozen=True, repr=False)
class Evaluation:
    """How good a model is on rows that were never trained on.

    metrics: over all owners' rows together. by_owner: on each owner's. model: where it lies.
    """

    metrics: Metrics
    by_owner: ByOwner
    model: str

    def records(self) -> list[dict[str, Any]]:
        """A dictionary a node, then one for all nodes (node "*")."""
        each = {**self.by_owner, "*": self.metrics}
        return [{"node": node, **metrics.as_dict()} for node, metrics in each.items()]

    def as_dict(self) -> dict[str, Any]:
        """As `python -m server evaluate --json` prints it."""
        nodes = {node: metrics.as_dict() for node, metrics in self.by_owner.items()}
        return {"model": self.model, "all": self.metrics.as_dict(), "nodes": nodes}

    def table(self) -> Fitted:
        return metrics_table(f"{self.model} on held-out rows", self.by_owner, self.metrics)

    def __repr__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return html_table(self.table())


@dataclass(frozen=True, repr=False)
class Worth:
    """Was it worth joining: a run's model beside what each owner has alone.

    run: its folder. found: all figures.
    """

    run: str
    found: Comparison

    @property
    def by_owner(self) -> Mapping[str, OwnerGains]:
        """Each owner's figures, by node id; empty where sums alone were seen."""
        return self.found.owners

    @property
    def left_out(self) -> Mapping[str, str]:
        """Why nodes that were asked are not in it, by node id."""
        return self.found.left_out

    def mean(self, figure: str) -> FigureSum:
        """The mean owner of a figure of shared/model/comparison.py, and how many are surely better
        or worse off."""
        return self.found.mean(figure)

    def as_dict(self) -> dict[str, Any]:
        """As `python -m server compare --json` prints it."""
        return {"run": self.run, **self.found.as_dict()}

    def table(self) -> Fitted:
        return comparison_table(self.found)

    def verdict(self) -> list[str]:
        """What the table says, in sentences."""
        return verdict(self.found)

    def __repr__(self) -> str:
        return "\n".join([as_text(self.table()), *self.verdict()])

    def _repr_html_(self) -> str:
        return html_table(self.table())


class Statuses(Sequence[NodeStatus]):
    """Each node's answer, by id."""

    def __init__(self, each: Sequence[NodeStatus]) -> None:
        self._each = tuple(each)

    @overload
    def __getitem__(self, place: int) -> NodeStatus: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[NodeStatus]: ...
    def __getitem__(self, place: int | slice) -> NodeStatus | Sequence[NodeStatus]:
        return self._each[place]

    def __len__(self) -> int:
        return len(self._each)

    @property
    def errors(self) -> dict[str, FedsmsError]:
        """Why nodes do not answer, by node id; empty where all do."""
        return {one.address.id: one.error for one in self._each if one.error is not None}

    def records(self) -> list[dict[str, Any]]:
        """A dictionary a node."""
        return [one.as_dict() for one in self._each]

    def table(self) -> Fitted:
        return status_table(self._each)

    def __repr__(self) -> str:
        return as_text(self.table())

    def _repr_html_(self) -> str:
        return html_table(self.table())


def table_of(rounds: Sequence[RoundResult]) -> Fitted:
    """A row a round."""
    return rounds_table([one.record for one in rounds])
