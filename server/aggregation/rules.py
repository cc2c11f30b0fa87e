"""The aggregation rules by the names that a recipe gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.aggregation.aggregators import Aggregator, FedAvg
from server.aggregation.robust_rules import Median, NormClip, NormRefuse, TrimmedMean
from shared.model.recipe import Aggregation, FederationRecipe
from shared.model.vectors import Vector

RULES: Mapping[Aggregation, Callable[[FederationRecipe, Vector], Aggregator]] = {
    "fedavg": lambda recipe, base: FedAvg(base),
    "norm-clip": lambda recipe, base: NormClip(base, recipe.norm_bound),
    "norm-refuse": lambda recipe, base: NormRefuse(base, recipe.norm_bound),
    "trimmed-mean": lambda recipe, base: TrimmedMean(base, recipe.trim),
    "median": lambda recipe, base: Median(base),
}


def make_aggregator(recipe: FederationRecipe, base: Vector) -> Aggregator:
    """The recipe's rule, for results that were trained from the state `base` (P,)."""
    return RULES[recipe.aggregation](recipe, base)
