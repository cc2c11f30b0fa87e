"""Which handed-out models the policy lets in, without a node: each rule at its bound."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import NodeFailed, PolicyRefused
from shared.model.recipe import Recipe, load_recipe
from shared.secure_aggregation.contents import recipe_digest, state_digest
from shared.wire.commands import HandOutCommand
from worker_node.guarding.guard import Guard, Who
from worker_node.guarding.kept_models import KeptModels
from worker_node.guarding.model_keeper import ModelKeeper
from worker_node.guarding.participation import Participation
from worker_node.guarding.policy import Policy

ME = Who("10.0.0.1:5", "hospital", "ab:cd")


def keep(
    folder: Path | None, recipe: Recipe, who: Who = ME, policy: dict[str, Any] | None = None
) -> str:
    """Has a guard that knows of no run keep a model; what its log says."""
    guard = Guard(Policy.model_validate(policy or {}), models=KeptModels(folder))
    state = np.ones(recipe.parameters, np.float32)
    command = HandOutCommand(
        state_id=1,
        run="r",
        recipe=recipe.to_json(),
        round=2,
        rounds=2,
        model=state_digest(state).hex(),
    )
    return asyncio.run(guard.keep_model(who, command, state))


def test_a_model_of_somebody_elses_run_is_kept_where_the_owner_wants_it(
    recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(PolicyRefused, match=r"models\.of_own_runs"):
        keep(tmp_path, recipe)
    said = keep(tmp_path, recipe, policy={"models": {"of_own_runs": False}})
    (path,) = tmp_path.iterdir()
    assert said == f", which it did not measure, kept as {path.name}"


def test_size_hours_count_and_place_are_looked_at(recipe: Recipe, tmp_path: Path) -> None:
    anything: dict[str, Any] = {"of_own_runs": False}
    large = load_recipe("default")
    assert 1_000_000 < 4 * large.parameters < 2_000_000
    with pytest.raises(PolicyRefused, match=r"models\.megabytes"):
        keep(tmp_path, large, policy={"models": {**anything, "megabytes": 1}})
    with pytest.raises(PolicyRefused, match="rule hours"):
        keep(tmp_path, recipe, policy={"models": anything, "hours": {"days": []}})
    with pytest.raises(PolicyRefused, match=r"day\.models"):
        keep(tmp_path, recipe, policy={"models": anything, "day": {"models": 0}})
    with pytest.raises(PolicyRefused, match=r"recipe\.tokens"):
        keep(tmp_path, recipe, policy={"models": anything, "recipe": {"tokens": 11}})
    with pytest.raises(PolicyRefused, match="no place to keep models"):
        keep(None, recipe, policy={"models": anything})
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeFailed, match="cannot keep the model"):
        keep(tmp_path / "file" / "models", recipe, policy={"models": anything})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert "kept as" in keep(tmp_path, large, policy={"models": {**anything, "megabytes": 2}})


def test_a_run_is_its_own_coordinators(recipe: Recipe) -> None:
    participation = Participation()
    digest = recipe_digest(recipe.to_json()).hex()
    participation.trains("hospital", "r", digest, 1, 60)
    assert participation.trained("hospital", "r", digest)
    assert not participation.trained("clinic", "r", digest)
    assert not participation.trained("hospital", "s", digest)
    assert not participation.trained("hospital", "r", "0" * 64)


class Keeper:
    """A keeper that trained in run "r" of `recipe`. counted: models that its owner's day counts."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.kept, self.counted = recipe, KeptModels(folder), 0
        self.participation = Participation()
        digest = recipe_digest(recipe.to_json()).hex()
        self.participation.trains(ME.name, "r", digest, 1, 60)
        self.keeper = ModelKeeper(Policy(), self.participation, self.kept)

    def keep(self, state: np.ndarray, digest: str, run: str = "r") -> str:
        command = HandOutCommand(
            state_id=1, run=run, recipe=self.recipe.to_json(), round=2, rounds=2, model=digest
        )
        return asyncio.run(self.keeper.keep(ME, command, state, self._count))

    def _count(self) -> None:
        assert not self.kept.folders
        self.counted += 1


def test_a_model_of_a_run_that_it_trained_in_is_kept_once_and_says_whether_it_was_measured_here(
    recipe: Recipe, tmp_path: Path
) -> None:
    state = np.ones(recipe.parameters, np.float32)
    digest = state_digest(state).hex()
    for measured, first in ((False, ", which it did not measure"), (True, "")):
        one = Keeper(recipe, tmp_path / str(measured))
        if measured:
            one.participation.measures(ME.name, digest)
        said = one.keep(state, digest)
        (path,) = one.kept.folders
        assert said == f"{first}, kept as {path.name}"
        assert json.loads((path / "config.json").read_text())["measured_here"] is measured
        assert one.keep(state, digest) == f"{first}, kept before"
        assert (one.counted, one.kept.folders) == (1, [path])
        with pytest.raises(PolicyRefused, match=r"models\.of_own_runs"):
            one.keep(state, digest, run="another")


@pytest.mark.parametrize("harm", ["shape", "size", "infinite", "digest"])
def test_numbers_that_are_not_those_of_the_model_that_was_announced_are_not_kept(
    recipe: Recipe, tmp_path: Path, harm: str
) -> None:
    """The digest is that of the very numbers, so that nothing else refuses them first."""
    state: np.ndarray = np.ones(recipe.parameters, np.float32)
    if harm == "size":
        state = state[:-1]
    if harm == "infinite":
        state[5] = np.inf
    digest = state_digest(state).hex()
    if harm == "shape":
        state = state.reshape(1, -1)
    if harm == "digest":
        digest = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    one = Keeper(recipe, tmp_path)
    with pytest.raises(
        NodeFailed, match="keeps no model that is not what its coordinator says"
    ) as (told):
        one.keep(state, digest)
    why = {"infinite": "not finite", "digest": "another digest"}.get(harm, "numbers came")
    assert why in str(told.value)
    assert (one.counted, list(tmp_path.iterdir())) == (0, [])
