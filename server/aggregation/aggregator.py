"""What an aggregation rule is: it takes a round's results and gives the next state of the model.

A rule is any class with `add` and `finish`; those that ship are in server/aggregation/fedavg.py and
server/aggregation/robust_rules.py, and a caller may bring one of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from server.aggregation.exact_sum import ExactSum
from shared.model.vectors import Vector


@dataclass(frozen=True, eq=False)
class Aggregate:
    """state: the next state (P,). refused: why a node's result was left out of it, by node id."""

    state: Vector
    refused: dict[str, str] = field(default_factory=dict)


class Aggregator(Protocol):
    """One round's aggregation; it holds nothing that outlives the round.

    `add` is called once for each node whose result came, in the order in which they came, which
    differs from run to run: a rule whose aggregate depends on it gives other weights each time.
    Then `finish` is called once. Both are called in the coordinator's event loop.
    """

    def add(self, node: str, state: Vector, rows: int) -> None:
        """Takes a node's trained state (P,), which is not changed.

        Args:
            rows: that the node trained on, as it says; what the rule may weigh by.

        Raises:
            ValueError: it cannot be a result: of another size, not finite, or without rows. The
                node is then left out of the round by name.
        """

    def finish(self) -> Aggregate:
        """The aggregate. Raises ValueError where there are no results."""


MakeAggregator = Callable[[Vector], Aggregator]
"""Makes the aggregation of one round, for results that were trained from a state (P,)."""


def mean_of(results: Iterable[tuple[Vector, int]], size: int) -> Vector:
    """The mean (P,) of states (P,) weighted by rows, the same in any order.

    Raises:
        ValueError: there are none, or one cannot be a result.
    """
    total = ExactSum(size)
    for state, rows in results:
        total.add(state, rows)
    return total.mean()
