"""FedAvg: the mean of the nodes' states, weighted by rows."""

from __future__ import annotations

from server.aggregation.aggregator import Aggregate
from server.aggregation.exact_sum import ExactSum
from shared.model.vectors import Vector


class FedAvg:
    """Exact until it is rounded to float32. It adds each result as it comes and keeps none.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data,
    AISTATS 2017.
    """

    def __init__(self, size: int) -> None:
        self._sum = ExactSum(size)

    def add(self, node: str, state: Vector, rows: int) -> None:
        self._sum.add(state, rows)

    def finish(self) -> Aggregate:
        return Aggregate(self._sum.mean())
