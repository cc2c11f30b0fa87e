"""The facts of a passport, from a run folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.nodes.addresses import NodeAddress
from server.rounds.records import Round
from server.runs.resume import read_rounds, read_settings
from server.runs.run_lock import is_locked
from shared.errors import StorageError
from shared.files import read_bytes
from shared.identity.folder import Identity
from shared.model.vectors import Vector
from shared.passport.statements import OwnerPart, Passport, now_in_words
from shared.secure_aggregation.contents import recipe_digest, state_digest
from shared.trained_model.saved_model import load
from shared.version import versions

FILES = ("settings.json", "metrics.jsonl", "model.safetensors", "config.json")
"""Of a run folder, those that a passport speaks for."""
MAX_FILE_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class Facts:
    """passport: unsigned, without a countersignature. state: the model's numbers (P,)."""

    passport: Passport
    state: Vector
    nodes: tuple[NodeAddress, ...]


def facts_of(path: Path, identity: Identity | None) -> Facts:
    """Reads a run folder that nobody writes.

    Args:
        identity: of the coordinator who will sign; None where nobody can.

    Raises:
        StorageError: it is no run folder, has no model yet, is damaged, or a run goes on there.
    """
    if is_locked(path):
        raise StorageError(
            f"the run in {path} goes on",
            "its model is not the last",
            "Wait until it has ended, or stop it.",
        )
    values, settings = read_settings(path)
    rounds, saved = read_rounds(path), load(path)
    if not rounds:
        raise StorageError(f"the run in {path} has no completed round")
    last = rounds[-1]
    passport = Passport(
        at=now_in_words(),
        coordinator=identity.name.id if identity is not None else None,
        run=values["run"],
        folder=path.resolve().name,
        recipe_name=settings.recipe_name,
        recipe=settings.recipe.model_dump(),
        recipe_digest=recipe_digest(settings.recipe.to_json()).hex(),
        model=state_digest(saved.state).hex(),
        seed=settings.seed,
        mode=settings.mode,
        secure_sums=values.get("secure_sums") is True,
        own_rule=values.get("own_rule"),
        rounds=last.number,
        metrics=last.metrics.as_dict() if last.metrics.rows else None,
        owners={node: _part(node, one, rounds) for node, one in values["nodes"].items()},
        versions=values.get("coordinator", {}).get("versions") or versions(),
        files={name: file_digest(path / name) for name in FILES},
    )
    return Facts(passport, saved.state, settings.nodes)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises StorageError."""
    return hashlib.sha256(read_bytes(path, MAX_FILE_BYTES)).hexdigest()


def _part(node: str, told: dict[str, Any], rounds: list[Round]) -> OwnerPart:
    own = {one.number: part for one in rounds for part in one.nodes if part.node == node}
    trained = [number for number, part in own.items() if _is_in(part.left_out)]
    last = own.get(rounds[-1].number)
    is_measured = last is not None and last.metrics is not None and last.metrics.rows > 0
    return OwnerPart(
        certificate=told.get("certificate"),
        rounds=trained,
        rows=told.get("rows") or {},
        versions=told.get("versions"),
        metrics=last.metrics.as_dict() if is_measured and last and last.metrics else None,
    )


def _is_in(left_out: str) -> bool:
    """False where a rule left the node's result out; who was only not measured is in the model."""
    return not left_out or left_out.startswith("not evaluated")
