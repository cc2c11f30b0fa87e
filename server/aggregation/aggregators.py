"""From the nodes' results of a round to the next state of the model.

FedAvg needs one result at a time: it adds each as it comes (server/aggregation/exact_sum.py) and
keeps none. The robust rules compare the results with each other and keep them until the round ends;
see server/aggregation/robust.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from server.aggregation.exact_sum import ExactSum
from server.aggregation.robust import clip, coordinate_median, out_of_line, trimmed_mean
from shared.model.recipe import FederationRecipe
from shared.model.vectors import Vector


@dataclass(frozen=True, eq=False)
class Aggregate:
    """state: the next state (P,). refused: why a node's result was left out of it, by node id."""

    state: Vector
    refused: dict[str, str] = field(default_factory=dict)


class Aggregator(Protocol):
    """Takes a round's results in any order; the aggregate does not depend on it."""

    def add(self, node: str, state: Vector, rows: int) -> None:
        """Takes a node's trained state (P,), which is not changed.

        Raises:
            ValueError: it cannot be a result: of another size, not finite, or without rows.
        """

    def finish(self) -> Aggregate:
        """The aggregate. Raises ValueError where there are no results."""


def make_aggregator(rule: FederationRecipe, base: Vector) -> Aggregator:
    """The recipe's rule, for results that were trained from the state `base` (P,).

    It holds nothing that outlives the round, so a checkpoint needs the model's state alone.
    """
    return FedAvg(base.size) if rule.aggregation == "fedavg" else Robust(rule, base)


class FedAvg:
    """The mean of the states weighted by rows, exact until it is rounded to float32.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data,
    AISTATS 2017.
    """

    def __init__(self, size: int) -> None:
        self._sum = ExactSum(size)

    def add(self, node: str, state: Vector, rows: int) -> None:
        self._sum.add(state, rows)

    def finish(self) -> Aggregate:
        return Aggregate(self._sum.mean())


class Robust:
    """The rules that compare results: memory grows by a state for each node of the cohort."""

    def __init__(self, rule: FederationRecipe, base: Vector) -> None:
        self._rule = rule
        self._base = base
        self._check = ExactSum(base.size)
        self._results: dict[str, tuple[Vector, int]] = {}

    def add(self, node: str, state: Vector, rows: int) -> None:
        self._check.require_result(state, rows)
        self._results[node] = (state, rows)

    def finish(self) -> Aggregate:
        if not self._results:
            raise ValueError("there are no results to aggregate")
        names = sorted(self._results)
        states = [self._results[name][0] for name in names]
        rows = [self._results[name][1] for name in names]
        match self._rule.aggregation:
            case "median":
                return Aggregate(coordinate_median(states))
            case "trimmed-mean":
                return Aggregate(trimmed_mean(states, self._rule.trim))
            case "norm-clip":
                clipped = clip(states, self._base, self._rule.norm_bound)
                return Aggregate(mean_of(zip(clipped, rows, strict=True), self._base.size))
        refused = out_of_line(states, self._base, self._rule.norm_bound)
        kept = [result for node, result in sorted(self._results.items())]
        fair = (result for number, result in enumerate(kept) if number not in refused)
        words = {names[number]: why for number, why in refused.items()}
        return Aggregate(mean_of(fair, self._base.size), words)


def mean_of(results: Iterable[tuple[Vector, int]], size: int) -> Vector:
    """The mean (P,) of states (P,) weighted by rows, the same in any order.

    Raises:
        ValueError: there are none, or one cannot be a result.
    """
    total = ExactSum(size)
    for state, rows in results:
        total.add(state, rows)
    return total.mean()
