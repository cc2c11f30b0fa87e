"""Runs that were stopped in any way go on, and end as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.nodes import LocalNode
from server.nodes.addresses import NodeAddress
from server.rounds.comparison import Comparison
from server.runs.comparison_file import read_comparison, save_comparison
from server.runs.report import run_data
from server.runs.resume import open_stopped, with_changes
from server.runs.run_folder import RunFolder
from server.runs.run_lock import RunLock
from shared.errors import StorageError, UsageError
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.trained_model.saved_model import load
from shared.wire.timeouts import Timeouts
from tests.helpers.needed import lacking
from tests.helpers.running import Finished, environment, finish, run, start, until
from tests.server.runs.test_runs import one_round

pytestmark = pytest.mark.timeout(240)
SETTINGS: dict[str, Any] = {
    "run": "0123",
    "recipe_name": "quick",
    "seed": 1,
    "checkpoints": 1,
    "min_nodes": "0.5",
    "cohort": 0,
    "timeouts": vars(Timeouts(heartbeat=3)),
    "mode": "rounds",
    "replay": False,
    "resumed_after": [],
    "nodes": {"anne": {"url": "ws://h:1"}, "bob": {"url": "ws://h:2"}},
}
ROUNDS = 40


def stopped_run(folder: Path, recipe: Recipe, rounds: int, **changed: Any) -> Path:
    """A run folder as a run that is stopped after so many rounds leaves it."""
    run_folder = RunFolder(folder, "test", recipe, SETTINGS | changed, 1)
    for number in range(1, rounds + 1):
        run_folder.on_round(one_round(number), initial_state(recipe, number))
    run_folder.finish("interrupted")
    return run_folder.path


def numbers(folder: Path) -> list[tuple[int, str]]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["round"], row["node"]) for row in map(json.loads, lines)]


def test_a_stopped_run_is_found_as_it_was_left(tmp_path: Path, recipe: Recipe) -> None:
    path = stopped_run(tmp_path, recipe, 3)
    found = open_stopped(path)
    found.lock.release()
    assert (found.completed, found.run, found.resumed_after) == (3, "0123", [3])
    assert found.state is not None
    assert np.array_equal(found.state, initial_state(recipe, 3))
    assert found.rounds == [one_round(number, recipe.federation.rounds) for number in (1, 2, 3)]
    settings = found.settings
    assert settings.recipe == recipe
    assert (str(settings.min_nodes), settings.timeouts.heartbeat) == ("0.5", 3)
    assert [node.id for node in settings.nodes] == ["anne", "bob"]


def test_a_run_without_a_completed_round_begins_at_its_start(
    tmp_path: Path, recipe: Recipe
) -> None:
    found = open_stopped(stopped_run(tmp_path, recipe, 0))
    found.lock.release()
    assert (found.completed, found.state, found.rounds) == (0, None, [])


def test_metrics_of_a_round_whose_model_never_came_are_cut_off(
    tmp_path: Path, recipe: Recipe
) -> None:
    path = stopped_run(tmp_path, recipe, 2)
    whole = (path / "metrics.jsonl").read_bytes()
    (path / "config.json").unlink()  # a crash in the first round may come before it
    later = b'{"round": 3, "node": "anne"}\n{"round": 3, "no'
    (path / "metrics.jsonl").write_bytes(whole + later)
    (path / ".model.safetensors.abc").write_bytes(b"half a model")
    open_stopped(path).lock.release()
    assert (path / "metrics.jsonl").read_bytes() == whole
    assert not (path / ".model.safetensors.abc").exists()


def damage_settings(path: Path) -> None:
    (path / "settings.json").write_text('{"seed": 1}', encoding="utf-8")


def damage_metrics(path: Path) -> None:
    (path / "metrics.jsonl").write_text("{]\n", encoding="utf-8")


def lose_metrics(path: Path) -> None:
    (path / "metrics.jsonl").unlink()


def damage_model(path: Path) -> None:
    (path / "model.safetensors").write_bytes(b"garbage")


def lose_settings(path: Path) -> None:
    (path / "settings.json").unlink()


def lose_everything(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    "damage",
    [
        damage_settings,
        damage_metrics,
        lose_metrics,
        damage_model,
        lose_settings,
        lose_everything,
    ],
)
def test_what_cannot_be_resumed_is_a_storage_error(
    tmp_path: Path, recipe: Recipe, damage: Any
) -> None:
    path = stopped_run(tmp_path, recipe, 2)
    damage(path)
    with pytest.raises(StorageError, match=path.name):
        open_stopped(path)
    if path.exists():
        RunLock(path).release()  # nobody holds it any more


def test_a_comparison_of_the_model_before_goes_with_the_round_that_replaces_it(
    tmp_path: Path, recipe: Recipe
) -> None:
    path = stopped_run(tmp_path, recipe, 2)
    compared = Comparison(2)
    save_comparison(path, compared)
    for more in (0, 1):  # a resume that comes to no round leaves it where it is
        stopped = open_stopped(path)
        going_on = RunFolder(tmp_path, "test", recipe, SETTINGS, 1, stopped)
        assert read_comparison(path) == compared
        for number in range(3, 3 + more):
            going_on.on_round(one_round(number), initial_state(recipe, number))
        going_on.finish("interrupted")
        assert read_comparison(path) == (None if more else compared)
        assert (run_data(path)["comparison"] is None) == bool(more)


def test_nodes_may_move_and_may_not_be_others(tmp_path: Path, recipe: Recipe) -> None:
    found = open_stopped(stopped_run(tmp_path, recipe, 1))
    found.lock.release()
    moved = (NodeAddress("anne", "ws://new:1"), NodeAddress("bob", "ws://new:2"))
    assert with_changes(found.settings, moved).nodes == moved
    with pytest.raises(UsageError, match="not those of the run"):
        with_changes(found.settings, moved[:1])


def test_a_folder_belongs_to_one_coordinator_at_a_time(tmp_path: Path, recipe: Recipe) -> None:
    path = stopped_run(tmp_path, recipe, 1)
    held = RunLock(path)
    with pytest.raises(StorageError, match="another coordinator"):
        open_stopped(path)
    held.release()
    open_stopped(path).lock.release()


@pytest.mark.parametrize("flags", [("--seed", "7"), ("--rounds", "3"), ("--name", "x")])
def test_a_flag_against_the_run_is_a_usage_error(
    tmp_path: Path, recipe: Recipe, cli: Any, flags: tuple[str, ...]
) -> None:
    done = cli("server", "train", "--resume", stopped_run(tmp_path, recipe, 1), *flags)
    assert done.code == 2
    assert f"{flags[0]} {flags[1]} does not go with --resume" in done.err


def test_a_run_through_pointers_cannot_be_resumed(tmp_path: Path, recipe: Recipe, cli: Any) -> None:
    path = stopped_run(tmp_path, recipe, 1, mode="pointers")
    done = cli("server", "train", "--resume", path)
    assert done.code == 2
    assert "trained through pointers" in done.err
    path = stopped_run(tmp_path, recipe, 1)
    done = cli("server", "train", "--resume", path, "--mode", "pointers")
    assert done.code == 2
    assert "--mode pointers does not go with --resume" in done.err


def test_who_resumes_proves_itself_anew_and_dials_nobody_elses_machine_without_tls(
    tmp_path: Path, recipe: Recipe, cli: Any
) -> None:
    at = {"url": "wss://127.0.0.1:9"}
    path = stopped_run(tmp_path, recipe, 1, nodes={"bob": at})
    done = cli("server", "train", "--resume", path)
    assert done.code == 8
    assert "python -m server init" in done.err
    moved = ("--node", "bob=ws://10.0.0.7:8777")
    done = cli("server", "train", "--resume", path, *moved)
    assert done.code == 2
    assert "--insecure" in done.err


# Whole runs, between processes


def of_rounds(quick: Path, folder: Path, rounds: int) -> Path:
    path = folder / "rounds.toml"
    text = quick.read_text(encoding="utf-8")
    path.write_text(text.replace("rounds = 2", f"rounds = {rounds}"), encoding="utf-8")
    return path


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def complete(done: Finished) -> Path:
    assert done.code == 0, done.err
    return Path(json.loads(done.out.splitlines()[-1])["run"])


@pytest.fixture(scope="module")
def undisturbed(
    node_flags: list[str], quick: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = of_rounds(quick, folder, ROUNDS)
    flags = ["--recipe", recipe, "--run-dir", folder / "runs", *node_flags]
    return complete(run("server", "train", "--json", *flags, cwd=folder))


def check_like(folder: Path, undisturbed: Path) -> None:
    """The same weights, and every round's rows once and in order."""
    assert digest(folder) == digest(undisturbed)
    assert numbers(folder) == numbers(undisturbed)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["rounds_completed"]) == ("completed", ROUNDS)


def test_a_coordinator_killed_again_and_again_ends_with_the_bits_of_one_that_was_not(
    node_flags: list[str], undisturbed: Path, quick: Path, tmp_path: Path
) -> None:
    drawn = random.Random(6)
    flags = ["--recipe", of_rounds(quick, tmp_path, ROUNDS), "--run-dir", "runs", *node_flags]
    process = start("server", "train", "--json", *flags, cwd=tmp_path)
    for _ in range(2):
        # lines of the rounds this process does; the kill falls somewhere in what follows
        assert process.stdout is not None
        for _ in range(drawn.randint(1, 30)):
            assert process.stdout.readline()
        process.kill()
        finish(process)
        folder = only(tmp_path / "runs")
        process = start("server", "train", "--resume", folder, "--json", cwd=tmp_path)
    done = finish(process)
    assert complete(done) == only(tmp_path / "runs")
    check_like(folder, undisturbed)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert len(settings["resumed_after"]) == 2
    again = run("server", "train", "--resume", folder, cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"{ROUNDS}  " in again.out
    check_like(folder, undisturbed)


def test_one_command_begins_a_run_goes_on_with_it_and_leaves_it_once_it_has_ended(
    node_flags: list[str], undisturbed: Path, quick: Path, tmp_path: Path
) -> None:
    flags = ["--recipe", of_rounds(quick, tmp_path, ROUNDS), "--run-dir", "runs", *node_flags]
    once = ["train", "--once", "--json", *flags]
    process = start("server", *once, cwd=tmp_path)
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline()
    process.kill()
    finish(process)
    assert complete(run("server", *once, cwd=tmp_path)) == only(tmp_path / "runs").relative_to(
        tmp_path
    )
    folder = only(tmp_path / "runs")
    check_like(folder, undisturbed)
    settings = (folder / "settings.json").read_bytes()
    assert len(json.loads(settings)["resumed_after"]) == 1
    again = run("server", *once, cwd=tmp_path)  # asks nobody, and writes nothing
    assert complete(again) == Path("runs", folder.name)
    assert "has come to its end" in again.err
    assert (folder / "settings.json").read_bytes() == settings
    check_like(folder, undisturbed)


def test_once_takes_no_other_run_than_the_newest(tmp_path: Path, recipe: Recipe, cli: Any) -> None:
    path = stopped_run(tmp_path, recipe, 1, mode="pointers")
    once = ("server", "train", "--once", "--run-dir", tmp_path)
    done = cli(*once)
    assert done.code == 2  # it is not begun anew
    assert f"the run in {path} cannot be resumed" in done.err
    done = cli(*once, "--resume", path)
    assert done.code == 2
    assert "--once does not go with --resume" in done.err
    held = RunLock(path)
    done = cli(*once)
    held.release()
    assert done.code == 7
    assert "another coordinator" in done.err


def test_a_disk_that_is_full_ends_the_run_which_goes_on_once_there_is_room(
    node_flags: list[str], undisturbed: Path, quick: Path, tmp_path: Path
) -> None:
    flags = ["--recipe", of_rounds(quick, tmp_path, ROUNDS), "--run-dir", "runs", *node_flags]
    command = [sys.executable, "-m", "server", "train", *map(str, flags)]
    limited = ["bash", "-c", 'ulimit -f 40 && exec "$@"', "-", *command]  # KiB a file
    done = subprocess.run(
        limited, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 7
    assert "metrics.jsonl: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert "--resume runs/" in done.stderr
    folder = only(tmp_path / "runs")
    assert load(folder).state.size > 0
    assert complete(run("server", "train", "--json", "--resume", folder, cwd=tmp_path))
    check_like(folder, undisturbed)


SMALL_DISK = """
mkdir disk && mount -t tmpfs -o size=160k none disk || exit 99
"$@"
code=$?
cp -a disk/runs . && exit $code
"""


def test_a_run_goes_on_from_the_copy_of_a_disk_on_which_no_byte_was_left(
    node_flags: list[str], undisturbed: Path, quick: Path, tmp_path: Path
) -> None:
    flags = ["--recipe", of_rounds(quick, tmp_path, ROUNDS), "--run-dir", "disk/runs", *node_flags]
    command = [sys.executable, "-m", "server", "train", *map(str, flags)]
    own_mounts = ["unshare", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "-", *command]
    done = subprocess.run(
        own_mounts, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode in (1, 99) and ("unshare:" in done.stderr or "mount:" in done.stderr):
        lacking("disk", f"no disk of its own can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 7, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "--resume disk/runs/" in done.stderr
    folder = only(tmp_path / "runs")
    assert complete(run("server", "train", "--json", "--resume", folder, cwd=tmp_path))
    check_like(folder, undisturbed)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    assert 0 < settings["resumed_after"][0] < ROUNDS


def test_a_run_folder_that_is_taken_away_ends_the_run(
    node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    flags = ["--recipe", quick, "--rounds", 100_000, "--run-dir", "runs", *node_flags]
    process = start("server", "train", "--json", *flags, cwd=tmp_path)
    until(lambda: bool(list(tmp_path.glob("runs/*/config.json"))), "a model")
    (only(tmp_path / "runs")).rename(tmp_path / "elsewhere")
    done = finish(process)
    assert done.code == 7
    assert "No such file or directory" in done.err
    assert "Traceback" not in done.err
    assert load(tmp_path / "elsewhere").state.size > 0


def test_a_second_coordinator_in_the_folder_is_told(
    nodes: list[LocalNode], node_flags: list[str], slow: Path, tmp_path: Path
) -> None:
    flags = ["--recipe", slow, "--run-dir", "runs", *node_flags]
    process = start("server", "train", *flags, cwd=tmp_path)
    until(lambda: bool(list(tmp_path.glob("runs/*/settings.json"))), "the run to begin")
    assert process.poll() is None
    told = run("server", "train", "--resume", only(tmp_path / "runs"), cwd=tmp_path)
    assert told.code == 7
    assert "another coordinator is at work" in told.err
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    RunLock(only(tmp_path / "runs")).release()
