"""Models that are kept for the owner: whole or not at all, bounded, and the ones handed out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import StorageError
from shared.files import sync_folder
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import state_digest
from shared.trained_model.saved_model import CONFIG, WEIGHTS, SavedModel, save
from worker_node.guarding import kept_models
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


def test_the_oldest_is_the_one_that_was_saved_first_whatever_its_name(
    recipe: Recipe, tmp_path: Path
) -> None:
    kept = KeptModels(tmp_path)
    first, second = (keep(kept, recipe, seed, most=2) for seed in (1, 2))
    config = first / CONFIG
    config.write_text(config.read_text().replace('"saved": "2', '"saved": "9'))
    third = keep(kept, recipe, 3, most=2)
    assert set(kept.folders) == {first, third}
    assert not second.exists()


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


def test_without_a_folder_or_before_the_first_model_none_is_kept(tmp_path: Path) -> None:
    origin = Origin("hospital", "", "run", 2, 2, "ab", True)
    (tmp_path / "file").write_text("")
    for folder in (None, tmp_path / "none", tmp_path / "file"):
        kept = KeptModels(folder)
        assert kept.folders == []
        assert not kept.has(origin)


def test_its_name_is_the_moment_and_the_numbers_digest(recipe: Recipe, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    name = keep(KeptModels(tmp_path), recipe, 1).name
    moment, _, digest = name.rpartition("-")
    made = datetime.strptime(moment + "+0000", "%Y%m%d-%H%M%S-%f%z")
    assert before <= made <= datetime.now(UTC)
    assert digest == state_digest(state_of(recipe, 1)).hex()[:12]


def test_a_model_is_made_beside_the_others_and_is_there_when_the_folder_is_synced(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And while it is made there are no more of the others than may be kept."""
    kept = KeptModels(tmp_path)
    for seed in range(4):
        keep(kept, recipe, seed, most=4)
    made: list[Path] = []
    synced: list[list[Path]] = []

    def saves(folder: Path, *others: Any) -> None:
        made.append(folder)
        assert len(kept.folders) == 2
        save(folder, *others)

    def syncs(folder: Path) -> None:
        sync_folder(folder)
        synced.append(list(folder.iterdir()))

    monkeypatch.setattr(kept_models, "save", saves)
    monkeypatch.setattr(kept_models, "sync_folder", syncs)
    path = keep(kept, recipe, 5, most=2)
    (temporary,), (there,) = made, synced
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".new-")
    assert path in there
    assert temporary not in there
    assert set(tmp_path.iterdir()) == set(kept.folders)  # and nothing half removed


def test_what_a_crash_left_is_removed_and_what_a_failure_would_leave_as_well(
    recipe: Recipe, tmp_path: Path
) -> None:
    kept = KeptModels(tmp_path)
    for name in (".new-abc", ".gone-20261127-000000-000000-0123456789ab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / WEIGHTS).write_text("half")
    path = keep(kept, recipe, 1)
    assert list(tmp_path.iterdir()) == [path]
    digest = state_digest(state_of(recipe, 2)).hex()
    with pytest.raises(ValueError, match="reshape"):
        kept.keep(
            recipe,
            state_of(recipe, 2)[:-1],
            Origin("hospital", "", "run", 2, 2, digest, True),
            most=3,
        )
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_removed_is_an_error_of_the_folder(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / ".new-file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot write") as told:
        keep(KeptModels(tmp_path), recipe, 1)
    assert str(tmp_path) in str(told.value)


@pytest.mark.parametrize(
    "config", [None, "{", "[" * 100_000, "[]", "7", "{}", '{"coordinator": "hospital"}']
)
def test_a_damaged_one_is_no_model_that_is_asked_for_and_goes_as_the_oldest(
    recipe: Recipe, tmp_path: Path, config: str | None
) -> None:
    kept = KeptModels(tmp_path)
    damaged = keep(kept, recipe, 1)
    whole = keep(kept, recipe, 2)
    (damaged / CONFIG).unlink()
    if config is not None:
        (damaged / CONFIG).write_text(config)
    model = state_digest(state_of(recipe, 1)).hex()
    assert not kept.has(Origin("hospital", "", "run 1", 2, 2, model, True))
    newest = keep(kept, recipe, 3, most=2)
    assert set(kept.folders) == {whole, newest}


def test_a_model_of_a_run_says_no_digest_and_is_used(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    save(tmp_path / "run", SavedModel(recipe, state_of(recipe, 1)), {})
    folder, saved, config = open_kept(tmp_path / "run", tmp_path)
    assert folder == tmp_path / "run"
    assert np.array_equal(saved.state, state_of(recipe, 1))
    assert "model" not in config
