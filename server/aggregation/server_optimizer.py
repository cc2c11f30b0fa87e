"""What the coordinator does with the mean of a round's results: a step of its own optimiser.

FedAvg makes the mean the next state. A server optimiser takes the mean less the state that the
round began with as a gradient with its sign turned, the pseudo-gradient, and steps along it with
what it remembers of the rounds before:

    fedavgm   velocity = momentum * velocity + update;  state + rate * velocity
    fedadam   first = b1 * first + (1 - b1) * update;  second = b2 * second + (1 - b2) * update^2;
              state + rate * first / (sqrt(second) + tau)
    fedyogi   the same with second - (1 - b2) * update^2 * sign(second - update^2)

FedAvgM: Hsu, Qi and Brown, Measuring the Effects of Non-Identical Data Distribution for Federated
Visual Classification, 2019. FedAdam and FedYogi: Reddi et al., Adaptive Federated Optimization,
ICLR 2021, algorithm 2; first moments begin at 0, second ones at tau^2, and nothing is corrected for
that.

It comes after the aggregation, whatever the rule, and sees the mean alone: a secure sum has no
more to give. A number that no node has moved has no update and no moment, so it stays, to the bit,
as do rows of a table whose words nobody has. One that was moved goes on for a while without
updates, as far as its momentum carries it.

All of it is float64 additions, multiplications, divisions and roots, number by number: IEEE 754
rounds each of them in one way, so that no order, chunk or processor changes a bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from server.aggregation.exact_sum import LARGEST
from shared.errors import FedsmsError
from shared.model.recipe import FederationRecipe, ServerOptimizerName
from shared.model.vectors import Vector

Doubles = npt.NDArray[np.float64]
Moments = Mapping[str, Doubles]
"""What an optimiser remembers, by name, each (P,); empty before the first step."""

FIRST, SECOND = "first", "second"
USUAL_RATES: Mapping[ServerOptimizerName, float] = {
    "none": 1.0,
    "fedavgm": 1.0,
    "fedadam": 0.1,
    "fedyogi": 0.03,
}
USUAL_MOMENTA: Mapping[ServerOptimizerName, float] = {
    "none": 0.0,
    "fedavgm": 0.6,
    "fedadam": 0.9,
    "fedyogi": 0.9,
}
"""Chosen on rows that no table shows: `scripts/benchmark.py strategies --tune`."""


class ServerOptimizer(Protocol):
    """From the mean of a round's results to the next state; one for all rounds of a run."""

    @property
    def moments(self) -> Moments:
        """What the steps after this one depend on. The arrays are never changed, only replaced."""

    def step(self, base: Vector, mean: Vector) -> Vector:
        """The next state (P,), for the state that the round began with and the results' mean.

        Raises:
            FedsmsError: it is no model's state any more.
        """


class PlainMean:
    """The mean is the next state, to the bit."""

    @property
    def moments(self) -> Moments:
        return {}

    def step(self, base: Vector, mean: Vector) -> Vector:
        return mean


class MomentumOptimizer:
    """FedAvgM, FedAdam or FedYogi.

    Args:
        recipe: names it, and its numbers.
        moments: of a run that goes on; empty at its beginning.
    """

    def __init__(self, recipe: FederationRecipe, moments: Moments) -> None:
        self._recipe = recipe
        self._direction = _DIRECTIONS[recipe.server_optimizer]
        self._rate = recipe.server_learning_rate or USUAL_RATES[recipe.server_optimizer]
        self.moments = moments

    def step(self, base: Vector, mean: Vector) -> Vector:
        update = mean.astype(np.float64) - base
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked at below
            self.moments, direction = self._direction(self._recipe, self.moments, update)
            following: Vector = (base + self._rate * direction).astype(np.float32)
        if not max(following.max(initial=0), -following.min(initial=0)) < LARGEST:
            raise FedsmsError(
                f"the server optimiser {self._recipe.server_optimizer} has left the numbers that a "
                "model may have",
                f"its learning rate is {self._rate:g}",
                "Train anew with a smaller --server-learning-rate.",
            )
        return following


Direction = Callable[[FederationRecipe, Moments, Doubles], tuple[Moments, Doubles]]


def _fedavgm(recipe: FederationRecipe, before: Moments, update: Doubles) -> tuple[Moments, Doubles]:
    velocity = _momentum(recipe) * before.get(FIRST, np.zeros_like(update)) + update
    return {FIRST: velocity}, velocity


def _fedadam(recipe: FederationRecipe, before: Moments, update: Doubles) -> tuple[Moments, Doubles]:
    squares = update * update
    second = recipe.server_beta2 * _second(recipe, before, update)
    return _adapted(recipe, before, update, second + (1 - recipe.server_beta2) * squares)


def _fedyogi(recipe: FederationRecipe, before: Moments, update: Doubles) -> tuple[Moments, Doubles]:
    squares = update * update
    second = _second(recipe, before, update)
    change = (1 - recipe.server_beta2) * squares * np.sign(second - squares)
    return _adapted(recipe, before, update, second - change)


def _momentum(recipe: FederationRecipe) -> float:
    given = recipe.server_momentum
    return USUAL_MOMENTA[recipe.server_optimizer] if given is None else given


def _second(recipe: FederationRecipe, before: Moments, update: Doubles) -> Doubles:
    return before.get(SECOND, np.full_like(update, recipe.server_tau**2))


def _adapted(
    recipe: FederationRecipe, before: Moments, update: Doubles, second: Doubles
) -> tuple[Moments, Doubles]:
    beta = _momentum(recipe)
    first = beta * before.get(FIRST, np.zeros_like(update)) + (1 - beta) * update
    return {FIRST: first, SECOND: second}, first / (np.sqrt(second) + recipe.server_tau)


_DIRECTIONS: Mapping[str, Direction] = {
    "fedavgm": _fedavgm,
    "fedadam": _fedadam,
    "fedyogi": _fedyogi,
}
MOMENTS: Mapping[ServerOptimizerName, tuple[str, ...]] = {
    "none": (),
    "fedavgm": (FIRST,),
    "fedadam": (FIRST, SECOND),
    "fedyogi": (FIRST, SECOND),
}
"""What each remembers once it has made a step."""


def make_server_optimizer(
    recipe: FederationRecipe, moments: Moments | None = None
) -> ServerOptimizer:
    """The recipe's, for a run that begins.

    Args:
        moments: what one before it had come to, for a run that goes on.
    """
    if recipe.server_optimizer == "none":
        return PlainMean()
    return MomentumOptimizer(recipe, moments or {})
