"""The run folder: its files, what they say, and what a full disk or a damaged file does to it."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from server.rounds.records import NodeRound, Round
from server.runs.run_folder import RunFolder
from shared.errors import StorageError
from shared.files import append_lines, write_whole
from shared.model.classifier import build_model, initial_state
from shared.model.metrics import BINS, Metrics, ScoreSummary, metrics_from
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.trained_model.saved_model import SavedModel, load, newest, open_model, save


def figures(spam: int = 4) -> Metrics:
    ham_counts, spam_counts = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    ham_counts[10], spam_counts[2000] = 5, spam
    return metrics_from(ScoreSummary(ham_counts, spam_counts, 1.5))


def node_round(node: str, rows: int) -> NodeRound:
    return NodeRound(
        node=node,
        rows=rows,
        loss=0.25,
        metrics=figures(),
        seconds_waiting=0.1,
        seconds_training=0.2,
        seconds_evaluating=0.3,
        seconds_transfer=0.4,
        bytes_sent=100,
        bytes_received=50,
    )


def one_round(number: int, rounds: int = 5) -> Round:
    nodes = (node_round("anne", 60), node_round("bob", 140))
    return Round(number, rounds, 0.3, figures(8), nodes, seconds=1.5, seconds_outside=1.3)


def run_of(folder: Path, recipe: Recipe, rounds: int, checkpoints: int = 3) -> tuple[Path, Vector]:
    """A completed run of so many rounds; gives its folder and its last state."""
    run = RunFolder(folder, "test", recipe, {"seed": 1}, checkpoints)
    state = initial_state(recipe, 0)
    for number in range(1, rounds + 1):
        state = initial_state(recipe, number)
        run.on_round(one_round(number, rounds), state)
    run.finish("completed")
    return run.path, state


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_leaves_everything_that_it_did(tmp_path: Path, recipe: Recipe) -> None:
    folder, state = run_of(tmp_path / "runs", recipe, rounds=5)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == [
        *(
            f"checkpoints/round-{number:05d}/{name}"
            for number in (3, 4, 5)
            for name in ("config.json", "model.safetensors")
        ),
        "config.json",
        "log.txt",
        "metrics.jsonl",
        "model.safetensors",
        "settings.json",
        "summary.json",
    ]
    assert read(folder / "settings.json") == {
        "recipe": recipe.model_dump(mode="json"),
        "seed": 1,
    }
    summary = read(folder / "summary.json")
    assert (summary["status"], summary["error"]) == ("completed", "")
    assert (summary["rounds_completed"], summary["bytes_sent"]) == (5, 1000)
    assert summary["metrics"] == figures(8).as_dict()
    assert summary["model_bytes"] == state.nbytes
    assert summary["rounds_left_out"] == {}
    assert "round 5/5" in (folder / "log.txt").read_text(encoding="utf-8")
    np.testing.assert_array_equal(load(folder).state, state)
    checkpoint = load(folder / "checkpoints" / "round-00003")
    np.testing.assert_array_equal(checkpoint.state, initial_state(recipe, 3))


def test_each_round_has_a_row_for_each_node_and_one_for_all(tmp_path: Path, recipe: Recipe) -> None:
    folder, _ = run_of(tmp_path, recipe, rounds=2)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["round"], row["node"], row["rows"]) for row in rows] == [
        (number, *who) for number in (1, 2) for who in (("anne", 60), ("bob", 140), ("*", 200))
    ]
    anne, everybody = rows[0], rows[2]
    assert anne["loss"] == 0.25
    assert anne["held_out_rows"] == 9
    for name in ("waiting", "training", "evaluating", "transfer"):
        assert anne[f"seconds_{name}"] > 0
    assert (everybody["bytes_sent"], everybody["bytes_received"]) == (200, 100)
    assert everybody["held_out_true_positives"] == 8
    assert everybody["seconds_outside_training"] == 1.3


def test_no_checkpoints_leaves_the_newest_model_alone(tmp_path: Path, recipe: Recipe) -> None:
    folder, state = run_of(tmp_path, recipe, rounds=3, checkpoints=0)
    assert not (folder / "checkpoints").exists()
    np.testing.assert_array_equal(load(folder).state, state)


def test_a_foreign_file_among_the_checkpoints_harms_nobody(tmp_path: Path, recipe: Recipe) -> None:
    run = RunFolder(tmp_path, "test", recipe, {}, checkpoints=1)
    for number in range(1, 4):
        run.on_round(one_round(number), initial_state(recipe, number))
        run._wait_for_disk()
        (run.path / "checkpoints" / ".DS_Store").write_text("", encoding="utf-8")
        (run.path / "checkpoints" / "notes").mkdir(exist_ok=True)
    run.finish("completed")
    kept = {path.name for path in (run.path / "checkpoints").iterdir()}
    assert kept == {".DS_Store", "notes", "round-00003"}


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, recipe: Recipe) -> None:
    folders = {run_of(tmp_path, recipe, rounds=0)[0] for _ in range(4)}
    assert len(folders) == 4


@pytest.mark.parametrize("name", ["../../etc", "a b/c", "...", "", "x" * 200])
def test_a_runs_name_stays_inside_its_parent(tmp_path: Path, recipe: Recipe, name: str) -> None:
    run = RunFolder(tmp_path / "runs", name, recipe, {}, 0)
    run.finish("completed")
    assert run.path.parent == tmp_path / "runs"


def test_a_run_that_is_over_writes_no_more_log(tmp_path: Path, recipe: Recipe) -> None:
    folder, _ = run_of(tmp_path, recipe, rounds=1)
    before = (folder / "log.txt").read_bytes()
    logging.getLogger("fedsms.coordinator").warning("another run's news")
    assert (folder / "log.txt").read_bytes() == before


def test_an_interrupted_run_says_so(tmp_path: Path, recipe: Recipe) -> None:
    run = RunFolder(tmp_path, "test", recipe, {}, 1)
    run.finish("interrupted")
    summary = read(run.path / "summary.json")
    assert (summary["status"], summary["rounds_completed"]) == ("interrupted", 0)
    assert summary["metrics"] is None


# A disk that will not


def test_a_disk_that_is_full_ends_the_run_as_failed(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path, "test", recipe, {}, 1)
    run.on_round(one_round(1), initial_state(recipe, 1))
    run._wait_for_disk()
    (run.path / "metrics.jsonl").unlink()
    (run.path / "metrics.jsonl").symlink_to("/dev/full")
    run.on_round(one_round(2), initial_state(recipe, 2))
    with pytest.raises(StorageError, match="No space left on device"):
        run.finish("completed")
    assert read(run.path / "summary.json")["status"] == "failed"
    np.testing.assert_array_equal(load(run.path).state, initial_state(recipe, 1))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def no_sync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shared.files.os.fsync", no_sync)
    with pytest.raises(StorageError, match=r"cannot write .*file: No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Is a directory"):
        append_lines(tmp_path, ["line"])
    with pytest.raises(StorageError, match="No such file"):
        write_whole(tmp_path / "gone" / "file", b"")


# A model that is damaged


@pytest.fixture
def saved(tmp_path: Path, recipe: Recipe) -> Path:
    save(tmp_path, SavedModel(recipe, initial_state(recipe, 1)), {})
    return tmp_path


def test_the_weights_carry_the_names_of_the_models_state_dict(saved: Path, recipe: Recipe) -> None:
    tensors = safetensors.numpy.load_file(saved / "model.safetensors")
    shapes = {name: tuple(value.shape) for name, value in build_model(recipe).state_dict().items()}
    assert {name: tensor.shape for name, tensor in tensors.items()} == shapes


def change(folder: Path, **changed: Any) -> None:
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    tensors.update(changed)
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.numpy.save_file(kept, folder / "model.safetensors")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 100, bytes(8)])
def test_a_damaged_model_file_is_a_storage_error(saved: Path, content: bytes) -> None:
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(StorageError, match=r"model\.safetensors is damaged"):
        load(saved)


def test_a_model_file_that_was_cut_is_a_storage_error(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StorageError, match="damaged"):
        load(saved)


def test_weights_of_another_model_are_a_storage_error(saved: Path, recipe: Recipe) -> None:
    first, *_ = build_model(recipe).state_dict()
    for wrong in (
        {first: None},
        {"extra": np.zeros(3, np.float32)},
        {first: np.zeros((8, 512), np.float32)},
        {first: np.zeros((3, 3), np.float32)},
        {first: np.full((512, 8), np.nan, np.float32)},
        {first: np.zeros((512, 8), np.int64)},
    ):
        save(saved, SavedModel(recipe, initial_state(recipe, 1)), {})
        change(saved, **wrong)
        with pytest.raises(StorageError, match=r"model\.safetensors"):
            load(saved)


def test_a_model_of_another_tokeniser_is_refused(saved: Path) -> None:
    config = read(saved / "config.json")
    config["tokeniser"] = {"letters": "0000"}
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(StorageError, match="another tokeniser"):
        load(saved)


def test_a_model_from_before_there_were_other_cleanings_is_read(saved: Path) -> None:
    config = read(saved / "config.json")
    config["tokeniser"] = {
        name: value for name, value in config["tokeniser"].items() if name in ("letters", "ngrams")
    }
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert load(saved).recipe.text.cleaning == "letters"


def test_the_newest_model_is_the_default(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(StorageError, match="no trained model"):
        newest(tmp_path)
    run_of(tmp_path, recipe, rounds=1)
    last, state = run_of(tmp_path, recipe, rounds=2)
    run_of(tmp_path, recipe, rounds=0)  # it was stopped before it had a model
    folder, model = open_model(None, tmp_path)
    assert folder == last
    np.testing.assert_array_equal(model.state, state)


def test_a_record_keeps_a_figure_that_is_unknown_as_null(tmp_path: Path, recipe: Recipe) -> None:
    nothing = metrics_from(ScoreSummary(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), 0.0))
    run = RunFolder(tmp_path, "test", recipe, {}, 0)
    run.on_round(replace(one_round(1), metrics=nothing), initial_state(recipe, 1))
    run.finish("completed")
    row = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["held_out_loss"] is None
    assert row["held_out_roc_auc"] is None


def test_the_newest_model_is_the_one_that_was_saved_last_whatever_the_files_times(
    tmp_path: Path, recipe: Recipe
) -> None:
    folders = [tmp_path / name for name in ("20260102-000000-b", "20260101-000000-a", "copied")]
    for folder in folders:
        folder.mkdir()
        save(folder, SavedModel(recipe, initial_state(recipe, 0)), {})
    for age, folder in enumerate(folders):  # as a copy that was made in the other order
        os.utime(folder / "config.json", (1e9 - age, 1e9 - age))
    assert newest(tmp_path) == folders[-1]

    for folder in folders:  # as versions wrote them that did not say when
        config = json.loads((folder / "config.json").read_text())
        del config["saved"]
        (folder / "config.json").write_text(json.dumps(config))
    assert newest(tmp_path) == folders[0]

    (folders[0] / "config.json").write_text('{"saved": [1]}')
    (folders[1] / "config.json").write_text("{")  # damaged; its name still says when
    assert newest(tmp_path) == folders[0]
