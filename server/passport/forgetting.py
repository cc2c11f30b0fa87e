"""Forgetting an owner: the model is trained again without it, from the same seed.

What is left is the model of a run in which the owner never was, to the bit: each remaining node
trains with the seeds that it had (server/rounds/plan.py), from the same start. Nothing is
approximated, and it costs a training. It speaks for this model alone: copies of the old one, and
what was learned from them, are where they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from server.nodes.addresses import NodeAddress
from server.passport.making import NO_KEY, make_passport, write_json
from server.passport.verification import FORGOTTEN, SignedForgotten
from server.runs.evaluation_run import evaluate
from server.runs.resume import read_settings
from server.runs.setting import SecureWanted
from server.runs.settings import RunSettings
from shared.errors import UsageError
from shared.identity import folder as identities
from shared.model.metrics import Metrics
from shared.model.vectors import Vector
from shared.passport.signing import sign
from shared.passport.statements import Forgotten, now_in_words
from shared.secure_aggregation.contents import recipe_digest, state_digest
from shared.trained_model.saved_model import SavedModel, load
from shared.version import versions


@dataclass(frozen=True)
class Forgetting:
    """A run that an owner shall be out of.

    settings: of the run that is to come. before: what the old run's settings.json holds.
    """

    owner: str
    old: Path
    before: Mapping[str, Any]
    settings: RunSettings


def plan_forgetting(
    owner: str, old: Path, moved: Mapping[str, NodeAddress], secure: SecureWanted | None = None
) -> Forgetting:
    """The training without the owner; nobody is dialled yet.

    Args:
        moved: new addresses, by node id.
        secure: whether the new run has secure sums; None has them where the old run had.

    Raises:
        UsageError: the owner is not in the run, nobody would be left, or the run cannot be done
            again by its settings.
        StorageError: there is no such run, or it has no model.
    """
    values, settings = read_settings(old)
    load(old)
    ids = [node.id for node in settings.nodes]
    if owner not in ids:
        raise UsageError(f"{owner} is not in the run in {old}", f"it has {', '.join(ids)}")
    if len(ids) == 1:
        raise UsageError(f"without {owner} nobody is left to train", next_step="Delete the run.")
    if values.get("own_rule") is not None:
        raise UsageError(
            f"the run in {old} had an aggregation rule of its own, {values['own_rule']}",
            next_step="Train again without the owner where that rule is: Federation.train.",
        )
    nodes = tuple(moved.get(node.id, node) for node in settings.nodes if node.id != owner)
    as_before = "on" if values.get("secure_sums") is True else settings.secure_aggregation
    new = replace(
        settings,
        nodes=nodes,
        name=f"{settings.folder_name}-without-{owner}",
        secure_aggregation=secure or as_before,
    )
    return Forgetting(owner, old, values, new)


async def finish_forgetting(plan: Forgetting, new: Path) -> SignedForgotten:
    """Compares both models; the new run's folder gets the signed statement, and a passport.

    Raises:
        FedsmsError: a node is not there, or failed. IdentityError: the identity is unfit.
    """
    before, after = load(plan.old), load(new)
    nodes, folder = plan.settings.nodes, plan.settings.identity
    identity = None
    if all(node.is_secure for node in nodes):
        identity = identities.load(folder, "coordinator")
    values, _ = read_settings(new)
    said = Forgotten(
        at=now_in_words(),
        coordinator=identity.name.id if identity is not None else None,
        owner=plan.owner,
        run_before=plan.before["run"],
        model_before=state_digest(before.state).hex(),
        run_after=values["run"],
        model_after=state_digest(after.state).hex(),
        recipe_digest=recipe_digest(after.recipe.to_json()).hex(),
        seed=plan.settings.seed,
        owners=[node.id for node in nodes],
        distance=distance(before.state, after.state),
        metrics=await _both(plan, {"before": before, "after": after}),
        rows=_rows(plan.before["nodes"], values["nodes"]),
        versions=versions(),
    )
    signature = sign("forgotten", said.model_dump(), identity) if identity is not None else None
    signed = SignedForgotten(
        forgotten=said, signature=signature, unsigned="" if signature else NO_KEY
    )
    write_json(new / FORGOTTEN, signed.model_dump())
    await make_passport(new, folder, nodes)
    return signed


def distance(before: Vector, after: Vector) -> dict[str, float]:
    """Of two states (P,): L2 norm of the difference, the same as a share of the first one's norm,
    and the largest difference of a number."""
    apart = after.astype(np.float64) - before
    norm = float(np.linalg.norm(before.astype(np.float64)))
    length = float(np.linalg.norm(apart))
    return {
        "l2": length,
        "relative": length / norm if norm else 0.0,
        "largest": float(np.abs(apart).max(initial=0)),
    }


async def _both(plan: Forgetting, models: Mapping[str, SavedModel]) -> dict[str, Any]:
    """Metrics of both on the same nodes, by owner and then by model; "*" for all."""
    found: dict[str, dict[str, Any]] = {}
    settings = plan.settings
    for which, model in models.items():
        overall, each = await evaluate(
            settings.nodes, model, settings.identity, settings.secure_aggregation
        )
        measured: dict[str, Metrics] = {**each, "*": overall}
        for node, metrics in measured.items():
            found.setdefault(node, {})[which] = metrics.as_dict()
    return found


def _rows(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {
        node: {"before": before[node].get("rows") or {}, "after": told.get("rows") or {}}
        for node, told in after.items()
    }
