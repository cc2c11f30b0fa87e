"""The robust rules as aggregators; what each does is in server/aggregation/robust.py.

They compare the results with each other, so they keep them until the round ends: memory grows by a
state for each node of the cohort.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from server.aggregation.aggregators import Aggregate, mean_of
from server.aggregation.exact_sum import ExactSum
from server.aggregation.robust import clip, coordinate_median, out_of_line, trimmed_mean
from shared.model.vectors import Vector


class Result(NamedTuple):
    """One node's: its id, its trained state (P,), and the rows that it counts for."""

    node: str
    state: Vector
    rows: int


class RobustRule(ABC):
    """An Aggregator that keeps all results, and looks at them at the end.

    Args:
        base: the state (P,) that the results were trained from.
    """

    def __init__(self, base: Vector) -> None:
        self._base = base
        self._check = ExactSum(base.size)
        self._results: list[Result] = []

    def add(self, node: str, state: Vector, rows: int) -> None:
        self._check.require_result(state, rows)
        self._results.append(Result(node, state, rows))

    def finish(self) -> Aggregate:
        if not self._results:
            raise ValueError("there are no results to aggregate")
        return self._aggregate(sorted(self._results, key=lambda result: result.node))

    @abstractmethod
    def _aggregate(self, results: Sequence[Result]) -> Aggregate:
        """The aggregate of one result or more, which are sorted by node."""


class NormClip(RobustRule):
    """The weighted mean, with updates that are too long shortened.

    Args:
        bound: how many times the median norm an update's may be, 1 or more.
    """

    def __init__(self, base: Vector, bound: float) -> None:
        super().__init__(base)
        self._bound = bound

    def _aggregate(self, results: Sequence[Result]) -> Aggregate:
        clipped = clip([result.state for result in results], self._base, self._bound)
        rows = [result.rows for result in results]
        return Aggregate(mean_of(zip(clipped, rows, strict=True), self._base.size))


class NormRefuse(RobustRule):
    """The weighted mean, without the updates that are too long.

    Args:
        bound: how many times the median norm an update's may be, 1 or more.
    """

    def __init__(self, base: Vector, bound: float) -> None:
        super().__init__(base)
        self._bound = bound

    def _aggregate(self, results: Sequence[Result]) -> Aggregate:
        states = [result.state for result in results]
        refused = out_of_line(states, self._base, self._bound)
        fair = [result for number, result in enumerate(results) if number not in refused]
        mean = mean_of(((result.state, result.rows) for result in fair), self._base.size)
        return Aggregate(mean, {results[number].node: why for number, why in refused.items()})


class TrimmedMean(RobustRule):
    """Coordinate by coordinate the mean of what is left once both ends are cut.

    Args:
        trim: share of the states cut at each end; 0 cuts none, below 0.5.
    """

    def __init__(self, base: Vector, trim: float) -> None:
        super().__init__(base)
        self._trim = trim

    def _aggregate(self, results: Sequence[Result]) -> Aggregate:
        return Aggregate(trimmed_mean([result.state for result in results], self._trim))


class Median(RobustRule):
    """Coordinate by coordinate the median."""

    def _aggregate(self, results: Sequence[Result]) -> Aggregate:
        return Aggregate(coordinate_median([result.state for result in results]))
