"""Models that are kept for the owner: whole or not at all, bounded, and the ones handed out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import StorageError
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import state_digest
from shared.trained_model.saved_model import CONFIG, WEIGHTS
from tests.helpers.running import ROOT, done_well, run_python
from worker_node.guarding.kept_models import KeptModels, Origin, open_kept


def state_of(recipe: Recipe, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=recipe.parameters).astype(np.float32)


def keep(
    kept: KeptModels, recipe: Recipe, seed: int, most: int = 3, run: str | None = None
) -> Path:
    state = state_of(recipe, seed)
    run = run if run is not None else f"run {seed}"
    origin = Origin("hospital", "", run, 2, 2, state_digest(state).hex(), True)
    return kept.keep(recipe, state, origin, most)


def test_a_model_is_kept_as_it_came_and_the_newest_is_found(recipe: Recipe, tmp_path: Path) -> None:
    kept = KeptModels(tmp_path / "models")
    paths = [keep(kept, recipe, seed) for seed in (1, 2)]
    folder, saved, config = open_kept(None, tmp_path / "models")
    assert folder == paths[1]
    assert saved.recipe == recipe
    assert np.array_equal(saved.state, state_of(recipe, 2))
    assert (config["coordinator"], config["run"], config["round"]) == ("hospital", "run 2", 2)
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIG}
    assert np.array_equal(open_kept(paths[0], tmp_path)[1].state, state_of(recipe, 1))
    assert np.array_equal(open_kept(paths[0] / WEIGHTS, tmp_path)[1].state, state_of(recipe, 1))


def test_no_more_than_so_many_are_kept_and_one_of_each_run(recipe: Recipe, tmp_path: Path) -> None:
    kept = KeptModels(tmp_path)
    paths = [keep(kept, recipe, seed, most=2) for seed in (1, 2, 3)]
    assert set(kept.folders) == set(paths[1:])
    again = keep(kept, recipe, 4, most=2, run="run 3")
    assert set(kept.folders) == {paths[1], again}
    assert keep(kept, recipe, 5, most=1) in kept.folders
    assert len(kept.folders) == 1


def test_the_one_that_just_came_stays_also_where_the_clock_was_set_back(
    recipe: Recipe, tmp_path: Path
) -> None:
    kept = KeptModels(tmp_path)
    for seed in (1, 2):
        config = keep(kept, recipe, seed, most=2) / CONFIG
        config.write_text(config.read_text().replace('"saved": "2', '"saved": "9'))
    newest = keep(kept, recipe, 3, most=2)
    assert newest in kept.folders
    assert len(kept.folders) == 2


def test_what_else_lies_there_is_the_owners(recipe: Recipe, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    models = tmp_path / "models"
    models.mkdir()
    (models / "notes.txt").write_text("mine")
    (models / "mine").mkdir()
    (models / "20261127-000000-000000-0123456789ab").symlink_to(elsewhere)
    (models / ".new-link").symlink_to(elsewhere)
    kept = KeptModels(models)
    for seed in (1, 2, 3):
        keep(kept, recipe, seed, most=1)
    assert (elsewhere / "precious").read_text() == "mine"
    assert (models / "notes.txt").read_text() == "mine"
    assert (models / "mine").is_dir()
    assert len(kept.folders) == 1


def test_a_model_that_is_kept_already_is_known_by_its_numbers_and_its_run(
    recipe: Recipe, tmp_path: Path
) -> None:
    kept = KeptModels(tmp_path)
    keep(kept, recipe, 1)
    model = state_digest(state_of(recipe, 1)).hex()
    origin = Origin("hospital", "", "run 1", 2, 2, model, True)
    assert kept.has(origin)
    assert not kept.has(replace(origin, run="run 2"))
    assert not kept.has(replace(origin, coordinator="clinic"))
    assert not kept.has(replace(origin, model="0" * 64))


def test_a_model_whose_numbers_were_changed_is_not_used(recipe: Recipe, tmp_path: Path) -> None:
    kept = KeptModels(tmp_path)
    path, other = keep(kept, recipe, 1), keep(kept, recipe, 2)
    (path / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    with pytest.raises(StorageError, match="not the one that was handed out"):
        open_kept(path, tmp_path)


@pytest.mark.parametrize("made", [True, False])
def test_an_owner_that_was_handed_none_is_told_how_to_get_one(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "models").mkdir()
    with pytest.raises(StorageError, match="no model that a coordinator handed out") as told:
        open_kept(None, tmp_path / "models")
    assert "--hand-out" in told.value.next_step


def test_a_disk_that_cannot_be_written_is_an_error_and_the_models_stay(
    recipe: Recipe, tmp_path: Path
) -> None:
    kept = KeptModels(tmp_path / "models")
    before = keep(kept, recipe, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        keep(KeptModels(tmp_path / "file" / "models"), recipe, 2)
    assert kept.folders == [before]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.conftest import QUICK
from tests.worker_node.guarding.test_kept_models import keep
from worker_node.guarding.kept_models import KeptModels, open_kept
from shared.model.recipe import load_recipe

folder, recipe = Path(sys.argv[1]), load_recipe(sys.argv[2])
EVENTS = ("open", "os.", "shutil.", "tempfile.")

def dies_at(number):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(EVENTS):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

kept = KeptModels(folder)
for seed in (1, 2):
    keep(kept, recipe, seed, most=2)
number = 0
while True:
    number += 1
    child = os.fork()
    if not child:
        dies_at(number)
        keep(kept, recipe, 100 + number, most=2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "whole", *sorted(p.name for p in kept.folders))
    assert 1 <= len(kept.folders) <= 3, kept.folders
    for path in (None, *kept.folders):
        open_kept(path, folder)
    if not os.WIFSIGNALED(status):
        assert status == 0
        break
"""


def test_whenever_the_node_is_killed_while_it_keeps_one_whole_models_alone_are_there(
    recipe: Recipe, quick: Path, tmp_path: Path
) -> None:
    """SIGKILL at every single call that touches the disk, one after the other."""
    models = tmp_path / "models"
    out = done_well(run_python("-c", KILLED, models, quick, cwd=ROOT)).splitlines()
    killed = [line for line in out if line.startswith("killed")]
    assert len(killed) > 20
    assert out[-1].startswith("whole")
    assert len(out[-1].split()) == 3  # two models, and nothing unfinished beside them
    assert len(list(models.iterdir())) == 2
