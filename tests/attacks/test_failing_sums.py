"""A state that fails at whoever has a word, or so many rows: in a sum, who failed is not told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from server.rounds.comparing import Comparing
from server.rounds.outgoing_state import OutgoingState
from server.rounds.secure_sums import NoRosters, SumLost
from server.runs.secure_choice import secure_from
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.secure_aggregation.contents import TrainingSum
from tests.attacks.test_secure_sums import OWNERS, federation, scene
from tests.helpers.identities import Federation
from tests.helpers.secure_rounds import federated

pytestmark = pytest.mark.timeout(240)
__all__ = ["federation"]


def not_finite(state: Vector) -> Vector:
    return np.full_like(state, np.nan)


def overflowing(state: Vector) -> Vector:
    """Scores and losses without bound, where a word meets them."""
    return np.full_like(state, 1e30)


def counting_rows(state: Vector) -> Vector:
    """A number that fits into a sum where an owner has few rows: bisected, it says how many."""
    counting = state.copy()
    counting[0] = 2.0**26 / 35  # the owners have 30 to 51
    return counting


Harm = Callable[[Vector], Vector]
ANY = pytest.mark.parametrize("harm", [not_finite, overflowing, counting_rows])
UNSCORED = pytest.mark.parametrize("harm", [not_finite, overflowing])


@ANY
def test_a_training_that_fails_leaves_as_any_other_and_the_sum_is_nothing(
    federation: Federation, recipe: Recipe, harm: Harm
) -> None:
    async def work() -> None:
        state = harm(initial_state(recipe, 1))
        async with scene(federation, recipe, state=state) as attacked:
            agreement = await attacked.to_agreement()
            first = await attacked.train(attacked.bob)
            assert await attacked.train(attacked.bob) == first
            total = attacked.sums["training"]
            for member in attacked.members:
                opening = await attacked.step(member, "open", agreement)
                total.take_opening(member.id, opening)
            with pytest.raises(ValueError, match=r"impossible|may reach"):
                TrainingSum.decode(total.result())
            await attacked.finishes()

    asyncio.run(work())


@UNSCORED
def test_an_evaluation_that_fails_leaves_as_any_other(
    federation: Federation, recipe: Recipe, harm: Harm
) -> None:
    async def work() -> None:
        async with scene(federation, recipe) as attacked:
            await attacked.to_vectors()
            measured = OutgoingState(harm(attacked.base.state))
            with pytest.raises(SumLost, match="held-out counts is impossible"):
                await attacked.rounds._measured(
                    attacked.sums, attacked.members, attacked.parts, measured
                )
            await attacked.finishes()

    asyncio.run(work())


@UNSCORED
def test_a_comparison_that_fails_leaves_as_any_other(
    federation: Federation, recipe: Recipe, harm: Harm
) -> None:
    async def work() -> None:
        async with federated(federation, OWNERS, recipe) as found, found.members() as members:
            secure = secure_from(found.coordinator, NoRosters())
            comparing = Comparing(members, recipe, 1, 1, (), secure)
            with pytest.raises(SumLost, match="comparison is impossible"):
                await comparing.compare(harm(initial_state(recipe, 1)))

    asyncio.run(work())
