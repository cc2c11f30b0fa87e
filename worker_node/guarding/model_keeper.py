"""Whether this node keeps a model that a coordinator hands out, and that it is the one it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from shared.errors import NodeFailed, StorageError
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import recipe_digest, state_digest
from shared.wire.commands import HandOutCommand, ProposeCommand
from worker_node.guarding.kept_models import KeptModels, Origin
from worker_node.guarding.participation import Participation
from worker_node.guarding.policy import Policy, refusal

if TYPE_CHECKING:
    from shared.model.vectors import Vector
    from worker_node.guarding.guard import Who

log = logging.getLogger("fedsms.node")


class ModelKeeper:
    """Takes models for one node's owner.

    Args:
        policy: the owner's. participation: what the node took part in.
        kept: where they are kept.
    """

    def __init__(self, policy: Policy, participation: Participation, kept: KeptModels) -> None:
        self._policy = policy
        self._participation = participation
        self._kept = kept

    def check(self, who: Who, command: ProposeCommand | HandOutCommand) -> None:
        """Raises PolicyRefused where a rule says no; nothing of it depends on a row."""
        policy, recipe = self._policy, Recipe.from_json(command.recipe)
        policy.check_model(recipe)
        if self._kept.folder is None:
            raise refusal("models.kept", "it has no place to keep models")
        policy.check_hours(policy.hours.now())
        policy.check_recipe(recipe, command.rounds)
        digest = recipe_digest(recipe.to_json()).hex()
        trained = self._participation.trained(who.name, command.run, digest)
        if policy.models.of_own_runs and not trained:
            raise refusal(
                "models.of_own_runs", "it keeps models of runs and recipes that it trained in"
            )

    async def keep(
        self, who: Who, command: HandOutCommand, state: Vector, count: Callable[[], None]
    ) -> str:
        """Keeps a state (P,), and is done once it is on disk.

        Args:
            count: called before anything is written; raises PolicyRefused after too much of it.

        Returns:
            What the audit log says of it. One that is kept already is not written again.

        Raises:
            PolicyRefused: a rule says no.
            NodeFailed: it is not the model that was announced, or it cannot be kept.
        """
        self.check(who, command)
        recipe = Recipe.from_json(command.recipe)
        _check_numbers(recipe, command.model, state)
        origin = Origin(
            coordinator=who.name,
            certificate=who.certificate,
            run=command.run,
            round=command.round,
            rounds=command.rounds,
            model=command.model,
            measured_here=self._participation.has_measured(who.name, command.model),
        )
        measured = "" if origin.measured_here else ", which it did not measure"
        if await asyncio.to_thread(self._kept.has, origin):
            return f"{measured}, kept before"
        count()
        most = self._policy.models.kept
        try:
            path = await asyncio.to_thread(self._kept.keep, recipe, state, origin, most)
        except StorageError as error:
            log.warning("%s", error)
            raise NodeFailed("the node cannot keep the model", "disk trouble") from None
        log.info("kept a model of %s for your own predictions: %s", who.name, path)
        return f"{measured}, kept as {path.name}"


def _check_numbers(recipe: Recipe, digest: str, state: Vector) -> None:
    fact = "the node keeps no model that is not what its coordinator says"
    if state.shape != (recipe.parameters,):
        cause = f"{state.size:,} numbers came; its recipe has {recipe.parameters:,}"
        raise NodeFailed(fact, cause)
    if not np.isfinite(state).all():
        raise NodeFailed(fact, "it has numbers that are not finite")
    if state_digest(state).hex() != digest:
        raise NodeFailed(fact, "its numbers have another digest than was announced")
