"""What an aggregation rule is, and the plain one: FedAvg.

FedAvg needs one result at a time: it adds each as it comes (server/aggregation/exact_sum.py) and
keeps none. The rules that compare results are in server/aggregation/robust_rules.py; the names that
a recipe may use for all of them are in server/aggregation/rules.py.
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
    """An aggregation rule at work on one round; any class with these methods can be one.

    A Coordinator makes one for each round and calls it from its event loop, one call at a time:
    what takes long holds up the other nodes' transfers. It may rely on this:

    - `add` comes at most once for a node. The order is that of the answers, which is chance, so
      the aggregate must not depend on it; sums of floats do (see exact_sum.py).
    - `finish` comes once, after the last `add`, and never for a round without results.
    - A result has the size of the state that the round began with, and its numbers are finite. It
      may be kept until `finish`, and must not be changed. `rows` are what the node counts for in a
      weighted mean, 1 or more.
    - A ValueError of `add` leaves the node out of the round, by name and with the error's words;
      nothing of its result may have been counted then. Any other exception ends the run.
    - What outlives the round is the state that `finish` gives, and nothing else: a run that is
      resumed begins with it, and with an aggregator that has seen nothing.
    """

    def add(self, node: str, state: Vector, rows: int) -> None:
        """Takes a node's trained state (P,), which is not changed.

        Raises:
            ValueError: it cannot be a result: of another size, not finite, or without rows.
        """

    def finish(self) -> Aggregate:
        """The aggregate, in an array of its own.

        Raises:
            ValueError: there are no results.
        """


MakeAggregator = Callable[[Vector], Aggregator]
"""Makes a round's Aggregator, for results that were trained from this state (P,)."""


class FedAvg:
    """The mean of the states weighted by rows, whose sum is exact on a grid of 2^-36.

    The same nodes and rows leave the same bits under secure aggregation, which uses that grid too.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data,
    AISTATS 2017.

    Args:
        base: the state (P,) that the results were trained from; its size alone counts.
    """

    def __init__(self, base: Vector) -> None:
        self._sum = ExactSum(base.size)

    def add(self, node: str, state: Vector, rows: int) -> None:
        self._sum.add(state, rows)

    def finish(self) -> Aggregate:
        return Aggregate(self._sum.mean())


def mean_of(results: Iterable[tuple[Vector, int]], size: int) -> Vector:
    """The mean (P,) of states (P,) weighted by rows, the same in any order.

    Raises:
        ValueError: there are none, or one cannot be a result.
    """
    total = ExactSum(size)
    for state, rows in results:
        total.add(state, rows)
    return total.mean()
