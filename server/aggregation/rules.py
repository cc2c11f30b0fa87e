"""The aggregation rules that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable

from server.aggregation.aggregator import Aggregator
from server.aggregation.fedavg import FedAvg
from server.aggregation.robust_rules import CoordinateMedian, NormClip, NormRefuse, TrimmedMean
from shared.model.recipe import Aggregation, FederationRecipe
from shared.model.vectors import Vector

RULES: dict[Aggregation, Callable[[Vector, FederationRecipe], Aggregator]] = {
    "fedavg": lambda base, _: FedAvg(base.size),
    "norm-clip": lambda base, table: NormClip(base, table.norm_bound),
    "norm-refuse": lambda base, table: NormRefuse(base, table.norm_bound),
    "trimmed-mean": lambda base, table: TrimmedMean(base, table.trim),
    "median": lambda base, _: CoordinateMedian(base),
}
"""From a name to a rule for results that were trained from a state (P,)."""


def make_aggregator(table: FederationRecipe, base: Vector) -> Aggregator:
    """The rule of a recipe's [federation] table, for one round from the state `base` (P,)."""
    return RULES[table.aggregation](base, table)
