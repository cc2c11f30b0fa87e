"""What a session does in a private run: nothing leaves but what the owner's ledger has.

Asked -> told before? the same bits again : charged on disk -> noise -> stored on disk -> told.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from shared.errors import NodeFailed
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.privacy.private_sum import Ring
from shared.wire.commands import EvaluateCommand, SecureReport, TrainCommand
from worker_node.guarding.guard import Who
from worker_node.guarding.private_releases import Release
from worker_node.node import DataOwnerNode
from worker_node.privacy.accounts import Part, Run
from worker_node.sessions.work import ask_trainer

Told = tuple[SecureReport, Ring]


class PrivateWork:
    """The private releases of one node, as its sessions ask for them."""

    def __init__(self, node: DataOwnerNode) -> None:
        self._node = node

    async def trained(self, who: Who, command: TrainCommand, state: Vector) -> Told:
        """A round's sum of clipped gradients with noise, (P + EXTRA,).

        Raises:
            PolicyRefused: by a rule of the owner's. NodeFailed: it cannot be done, or kept.
        """
        recipe = Recipe.from_json(command.recipe)
        if command.rounds != recipe.federation.rounds:
            raise NodeFailed("a private run has as many rounds as its recipe says")
        run = Run(who.name, command.run, "training")
        release = Release(run, command.round, _inputs(recipe, state, command.secure))
        guard = self._node.guard
        async with guard.releases.turn_of(run):
            if (before := await guard.releases.told(release)) is not None:
                return _report(0.0, 0.0), _numbers(before)
            await guard.may_train(who, command, self._node.shard)
            what = f"private round {command.round} of {command.rounds} for {who.name}"
            return await self._released(release, recipe, state, command.secure, what)

    async def evaluated(self, who: Who, command: EvaluateCommand, state: Vector) -> Told:
        """Counts of held-out scores with noise, (EVALUATION_NUMBERS,); raises likewise.

        Outside a secure sum it is the state that is asked about: again, it is answered the same.
        Inside one each round has noise of its own, for owners differ from sum to sum.
        """
        recipe, secure = Recipe.from_json(command.recipe), command.secure is not None
        inputs = _inputs(recipe, state, secure)
        name = "{} {}".format(*command.secure) if command.secure is not None else inputs
        release = Release(Run(who.name, name, "held_out"), 1, inputs)
        guard = self._node.guard
        async with guard.releases.turn_of(release.run):
            if (before := await guard.releases.told(release)) is not None:
                return _report(0.0, 0.0), _numbers(before)
            await guard.may_evaluate(who, command, self._node.shard)
            what = f"private evaluation for {who.name}"
            return await self._released(release, recipe, state, secure, what)

    async def _released(
        self, release: Release, recipe: Recipe, state: Vector, is_secure: bool, what: str
    ) -> Told:
        releases, part = self._node.guard.releases, release.run.part
        if state.shape != (recipe.parameters,) or not np.isfinite(state).all():
            raise NodeFailed("the state is not one of the recipe's model, in finite numbers")
        noise = releases.noise_of(recipe, part, is_secure)
        await releases.charge(release, noise.terms)
        request = {
            "op": _OPERATIONS[part],
            "state": state.tobytes(),
            "recipe": recipe.to_json(),
            "multiplier": noise.multiplier,
        }
        answer, waited = await ask_trainer(self._node, request, what, lambda _: None)
        await releases.answer(release, answer["numbers"])
        return _report(answer["seconds"], waited), _numbers(answer["numbers"])


_OPERATIONS: dict[Part, str] = {"training": "release", "held_out": "count"}


def as_object(numbers: Ring, object_id: int) -> Any:
    """Numbers as an object to fetch: their bytes, as a secure sum's are."""
    tensor: Any = torch.from_numpy(np.frombuffer(bytearray(numbers.tobytes()), np.uint8))
    tensor.id = object_id
    return tensor


def in_clear(report: SecureReport, numbers: Ring) -> SecureReport:
    """The report of an evaluation outside a secure sum."""
    return report.model_copy(update={"masked": numbers.tobytes()})


def _inputs(recipe: Recipe, state: Vector, is_secure: bool) -> str:
    digest = hashlib.sha256(state.astype("<f4", copy=False).tobytes())
    digest.update(f"\n{recipe.to_json()}\n{is_secure}".encode())
    return digest.hexdigest()


def _numbers(data: bytes) -> Ring:
    return np.frombuffer(data, "<u8")


def _report(working: float, waiting: float) -> SecureReport:
    return SecureReport(masked=b"", seconds_working=working, seconds_waiting=waiting)
