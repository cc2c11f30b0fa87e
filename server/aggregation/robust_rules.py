"""The rules that compare results with each other; server/aggregation/robust.py has their sources.

They keep the results until the round ends: memory grows by a state for each node of the cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.aggregation.aggregator import Aggregate, mean_of
from server.aggregation.exact_sum import ExactSum
from server.aggregation.robust import clip, coordinate_median, out_of_line, trimmed_mean
from shared.model.vectors import Vector


@dataclass(frozen=True, eq=False)
class Result:
    """One node's: its trained state (P,), and the rows that it trained on."""

    node: str
    state: Vector
    rows: int


class _Comparing:
    """Keeps what comes; a rule says in `_combined` what becomes of it."""

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
        return self._combined(sorted(self._results, key=lambda one: one.node))

    def _combined(self, results: Sequence[Result]) -> Aggregate:
        """The aggregate of results in the order of their nodes' ids."""
        raise NotImplementedError


class CoordinateMedian(_Comparing):
    """The median of each coordinate; rows do not weigh."""

    def _combined(self, results: Sequence[Result]) -> Aggregate:
        return Aggregate(coordinate_median([one.state for one in results]))


class TrimmedMean(_Comparing):
    """The mean of each coordinate without both ends; rows do not weigh.

    Args: trim: share of the results cut at each end; 0 cuts none.
    """

    def __init__(self, base: Vector, trim: float) -> None:
        super().__init__(base)
        self._trim = trim

    def _combined(self, results: Sequence[Result]) -> Aggregate:
        return Aggregate(trimmed_mean([one.state for one in results], self._trim))


class _NormRule(_Comparing):
    """Args: bound: times the cohort's median that an update's norm may be."""

    def __init__(self, base: Vector, bound: float) -> None:
        super().__init__(base)
        self._bound = bound


class NormClip(_NormRule):
    """FedAvg of updates that are shortened to the bound."""

    def _combined(self, results: Sequence[Result]) -> Aggregate:
        clipped = clip([one.state for one in results], self._base, self._bound)
        rows = [one.rows for one in results]
        return Aggregate(mean_of(zip(clipped, rows, strict=True), self._base.size))


class NormRefuse(_NormRule):
    """FedAvg of the updates within the bound; the nodes of the others are named."""

    def _combined(self, results: Sequence[Result]) -> Aggregate:
        refused = out_of_line([one.state for one in results], self._base, self._bound)
        kept = [one for number, one in enumerate(results) if number not in refused]
        mean = mean_of(((one.state, one.rows) for one in kept), self._base.size)
        return Aggregate(mean, {results[number].node: why for number, why in refused.items()})
