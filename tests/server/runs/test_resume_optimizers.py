"""Runs with a server optimiser: killed again and again, broken off, with secure sums, damaged."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from scripts.local.nodes import LocalNode
from server import Federation
from server.runs.resume import open_stopped
from shared.errors import StorageError
from shared.model.recipe import Recipe, load_recipe
from tests.helpers.running import done_well, finish, run, start

pytestmark = pytest.mark.timeout(240)
ROUNDS = 20


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_coordinator_killed_again_and_again_ends_with_the_bits_of_one_that_was_not(
    node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    """Of one optimiser: that each goes on from its moments is tested without a process."""
    name = "fedyogi"
    flags = ["--recipe", quick, "--rounds", ROUNDS, "--server-optimizer", name, *node_flags]
    done_well(run("server", "train", "--run-dir", "whole", *flags, cwd=tmp_path))
    drawn = random.Random(name)
    process = start("server", "train", "--json", "--run-dir", "runs", *flags, cwd=tmp_path)
    for _ in range(3):
        assert process.stdout is not None
        for _ in range(drawn.randint(1, 12)):
            assert process.stdout.readline()
        process.kill()
        finish(process)
        folder = only(tmp_path / "runs")
        process = start("server", "train", "--resume", folder, "--json", cwd=tmp_path)
    done_well(finish(process))
    assert digest(folder) == digest(only(tmp_path / "whole"))
    resumed = json.loads((folder / "settings.json").read_text())["resumed_after"]
    assert len(resumed) == 3
    assert [path.name for path in folder.glob("server-optimizer-*")] == [
        f"server-optimizer-{ROUNDS:05d}.safetensors"
    ]


@pytest.fixture
def federation(nodes: list[LocalNode], tmp_path: Path) -> Federation:
    return Federation({node.id: node.url for node in nodes}, run_dir=tmp_path / "runs", rounds=3)


def test_a_script_breaks_off_and_goes_on_to_the_same_bits_with_fedprox_too(
    federation: Federation, quick: Path
) -> None:
    tables = load_recipe(str(quick)).model_dump()
    tables["training"]["proximal_mu"] = 0.1
    recipe = Recipe.parse(tables, "here")
    whole = federation.train(recipe, server_optimizer="fedadam", server_learning_rate=0.05)
    for _ in federation.rounds(recipe, server_optimizer="fedadam", server_learning_rate=0.05):
        break
    broken = federation.last_run
    assert broken is not None
    assert broken.settings["recipe"]["training"]["proximal_mu"] == 0.1
    assert digest(federation.resume(broken).path) == digest(whole.path)
    ends = {
        digest(federation.train(recipe).path),
        digest(federation.train(quick, server_optimizer="fedadam").path),
        digest(federation.train(quick).path),
    }
    assert len(ends | {digest(whole.path)}) == 4


def test_the_first_step_of_a_run_is_the_rule_applied_to_the_mean_that_fedavg_gives(
    federation: Federation, quick: Path
) -> None:
    from shared.model.classifier import initial_state

    plain = federation.train(quick, rounds=1).model
    moved = federation.train(
        quick, rounds=1, server_optimizer="fedavgm", server_learning_rate=0.5
    ).model
    start_state = initial_state(plain.recipe, 1).astype(np.float64)
    expected = (start_state + 0.5 * (plain.state - start_state)).astype(np.float32)
    assert np.array_equal(moved.state, expected)


def test_moments_that_are_missing_or_damaged_end_a_resume_with_a_word_on_it(
    federation: Federation, quick: Path
) -> None:
    for _ in federation.rounds(quick, server_optimizer="fedyogi"):
        break
    assert federation.last_run is not None
    (path,) = federation.last_run.path.glob("server-optimizer-*")
    good = path.read_bytes()
    others = {"first": np.zeros(3), "second": np.zeros(3)}
    for data in (b"garbage", safetensors.numpy.save(others)):
        path.write_bytes(data)
        with pytest.raises(StorageError, match=path.name):
            open_stopped(federation.last_run.path)
    path.unlink()
    with pytest.raises(StorageError, match=path.name):
        open_stopped(federation.last_run.path)
    path.write_bytes(good)
    assert federation.resume(federation.last_run).status == "completed"
