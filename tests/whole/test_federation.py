"""Whole trainings over sockets, between processes: `python -m server` and running nodes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from scripts.local.nodes import LocalNode, local_nodes
from server.aggregation.aggregators import mean_of
from server.rounds.plan import node_seed
from shared.model.classifier import build_model, initial_state, vector_to_state
from shared.model.many_texts import encode_all
from shared.model.metrics import bin_of
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.trained_model.saved_model import load
from tests.conftest import OwnerFiles
from tests.helpers.running import (
    Finished,
    children_of,
    finish,
    greeting_of,
    is_alive,
    run,
    start,
    until,
)
from worker_node.data.shard import Message
from worker_node.training.local_training import TrainResult, train
from worker_node.training.secret_seed import mixed_seed, secret_of

pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True)
class Trained:
    """A run that `python -m server train --json` did: its folder and the rows that it printed."""

    folder: Path
    rows: list[dict[str, Any]]

    @property
    def state(self) -> Vector:
        return load(self.folder).state

    @property
    def digest(self) -> str:
        return hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest()


def trained(done: Finished) -> Trained:
    assert done.code == 0, done.err
    *rows, last = map(json.loads, done.out.splitlines())
    assert last["status"] == "completed"
    return Trained(Path(last["run"]), rows)


@pytest.fixture(scope="module")
def runs(
    node_flags: list[str], quick: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """Three runs on the same nodes: "seven" alone, then "again" and "eight" at the same time."""
    folder = tmp_path_factory.mktemp("runs")
    common = ["train", "--recipe", quick, "--run-dir", folder, "--json", *node_flags]
    alone = trained(run("server", *common, "--seed", 7, "--name", "seven", cwd=folder))
    both = [
        start("server", *common, "--seed", seed, "--name", name, cwd=folder)
        for seed, name in ((7, "again"), (8, "eight"))
    ]
    again, eight = [trained(finish(process)) for process in both]
    return {"seven": alone, "again": again, "eight": eight}


def rows_of(messages: list[Message], recipe: Recipe) -> tuple[Any, Any]:
    ids = encode_all([message.text for message in messages], recipe.text)
    return ids, np.array([message.label for message in messages])


def secret_of_owner(owner: OwnerFiles) -> bytes:
    parts = (owner.train, owner.held_out)
    return secret_of(([m.text.encode() for m in part], [m.label for m in part]) for part in parts)


def train_here(
    owners: list[OwnerFiles], recipe: Recipe, seed: int, state: Vector, number: int
) -> list[TrainResult]:
    """What the nodes do in a round, in this process."""
    torch.set_num_threads(1)
    return [
        train(
            state,
            *rows_of(owner.train, recipe),
            recipe,
            seed=mixed_seed(secret_of_owner(owner), node_seed(seed, owner.id, number)),
            round_index=number - 1,
        )
        for owner in owners
    ]


def simulated(owners: list[OwnerFiles], recipe: Recipe, seed: int) -> Vector:
    """The state that a run must end with, without a socket or a second process."""
    state = initial_state(recipe, seed)
    for number in range(1, recipe.federation.rounds + 1):
        results = train_here(owners, recipe, seed, state, number)
        pairs = [(result.state, result.rows) for result in results]
        state = mean_of(pairs, state.size)
    return state


def test_training_over_sockets_gives_the_bits_of_training_in_one_process(
    runs: dict[str, Trained], owners: list[OwnerFiles], recipe: Recipe
) -> None:
    assert np.array_equal(runs["seven"].state, simulated(owners, recipe, seed=7))


def test_two_coordinators_at_once_each_get_their_own_model(
    runs: dict[str, Trained], owners: list[OwnerFiles], recipe: Recipe
) -> None:
    assert np.array_equal(runs["again"].state, runs["seven"].state)
    assert np.array_equal(runs["eight"].state, simulated(owners, recipe, seed=8))


def test_the_same_seed_gives_the_same_file_and_another_seed_another(
    runs: dict[str, Trained],
) -> None:
    assert runs["again"].digest == runs["seven"].digest
    assert runs["eight"].digest != runs["seven"].digest


def test_owners_weigh_by_their_rows(
    runs: dict[str, Trained], owners: list[OwnerFiles], recipe: Recipe
) -> None:
    first = load(runs["seven"].folder / "checkpoints" / "round-00001").state
    results = train_here(owners, recipe, 7, initial_state(recipe, 7), 1)
    states = np.array([result.state for result in results], np.float64)
    np.testing.assert_allclose(first, np.average(states, 0, weights=[60, 140]), atol=1e-7)
    assert np.abs(first - states.mean(0)).max() > 1e-4
    told = {row["node"]: row["rows"] for row in runs["seven"].rows}
    assert told == {"anne": 60, "bob": 140, "*": 200}


def test_federated_metrics_are_those_of_the_pooled_rows(
    runs: dict[str, Trained], owners: list[OwnerFiles], recipe: Recipe
) -> None:
    ids, labels = rows_of([message for owner in owners for message in owner.held_out], recipe)
    model = build_model(recipe).eval()
    vector_to_state(model, runs["seven"].state)
    with torch.inference_mode():
        logits = model(torch.from_numpy(ids.astype(np.int64))).numpy()
    told = runs["seven"].rows[-1]
    assert (told["node"], told["round"], told["held_out_rows"]) == ("*", 2, 90)
    names = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    counted = [told[f"held_out_{name}"] for name in names]
    assert counted == confusion_matrix(labels, logits >= 0).ravel().tolist()
    bins = bin_of(logits)
    assert told["held_out_roc_auc"] == pytest.approx(roc_auc_score(labels, bins), abs=1e-12)
    precision = average_precision_score(labels, bins)
    assert told["held_out_average_precision"] == pytest.approx(precision, abs=1e-12)
    loss = np.mean(np.logaddexp(0, logits) - logits * labels)
    assert told["held_out_loss"] == pytest.approx(loss, abs=1e-6)


def test_a_saved_model_is_measured_again_with_the_same_figures(
    runs: dict[str, Trained], node_flags: list[str]
) -> None:
    folder = runs["seven"].folder
    done = run("server", "evaluate", "--model", folder, "--json", *node_flags, cwd=folder)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    anne, bob, everybody = runs["seven"].rows[-3:]
    for row, metrics in (
        (anne, answer["nodes"]["anne"]),
        (bob, answer["nodes"]["bob"]),
        (everybody, answer["all"]),
    ):
        assert metrics == {name: row[f"held_out_{name}"] for name in metrics}


# Ends that nobody planned


def start_training(
    folder: Path, nodes: list[LocalNode], recipe: Path, *more: object
) -> subprocess.Popen[str]:
    flags = [part for node in nodes for part in ("--node", node.flag)]
    return start(
        "server",
        "train",
        "--json",
        "--recipe",
        recipe,
        "--run-dir",
        "runs",
        *flags,
        *more,
        cwd=folder,
    )


def wait_for_first_round(process: subprocess.Popen[str], nodes: int) -> None:
    """Reads the first round's lines."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(nodes + 1)]
    assert lines[-1], process.stderr and process.stderr.read()
    assert json.loads(lines[-1])["round"] == 1


def wait_until_busy(node: LocalNode) -> None:
    until(lambda: "training" in greeting_of(node.id, node.url).busy, f"{node.id} to train")


def wait_until_idle(node: LocalNode) -> None:
    until(lambda: greeting_of(node.id, node.url).busy == "", f"{node.id} to be idle")


def summary(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "runs").glob("*/summary.json")
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def test_a_coordinator_that_disappears_leaves_idle_nodes_that_serve(
    nodes: list[LocalNode], node_flags: list[str], slow: Path, tmp_path: Path
) -> None:
    process = start_training(tmp_path, nodes, slow)
    for node in nodes:
        wait_until_busy(node)
    told = run("server", "status", "--json", *node_flags, cwd=tmp_path)
    assert told.code == 0
    assert all("training round 1 of 15" in one["busy"] for one in json.loads(told.out))
    process.kill()
    finish(process)
    for node in nodes:
        wait_until_idle(node)


def test_a_run_that_is_stopped_keeps_its_completed_rounds(
    nodes: list[LocalNode], quick: Path, recipe: Recipe, tmp_path: Path
) -> None:
    folders = {number: tmp_path / number.name for number in (signal.SIGINT, signal.SIGTERM)}
    processes = {}
    for number, folder in folders.items():
        folder.mkdir()
        processes[number] = start_training(folder, nodes, quick, "--rounds", 100_000)
    for number, process in processes.items():
        wait_for_first_round(process, len(nodes))
        process.send_signal(number)
    for number, process in processes.items():
        done = finish(process)
        assert done.code == 130
        assert "\nerror: stopped after " in done.err
        assert "Traceback" not in done.err
        told = summary(folders[number])
        assert told["status"] == "interrupted"
        assert told["rounds_completed"] >= 1
        # in this process: loading is what `predict` does first
        (run_folder,) = (folders[number] / "runs").iterdir()
        config = json.loads((run_folder / "config.json").read_text(encoding="utf-8"))
        assert config["round"] == told["rounds_completed"]
        assert load(run_folder).state.shape == (recipe.parameters,)
    for node in nodes:
        wait_until_idle(node)


@pytest.fixture(scope="module")
def victims(owners: list[OwnerFiles]) -> Iterator[list[LocalNode]]:
    """Two more nodes; the tests below end them."""
    flags = {"carol": owners[0].flags, "dave": owners[1].flags}
    with local_nodes(flags) as running:
        yield running


def test_a_node_that_is_killed_and_needed_ends_the_run_which_keeps_its_rounds(
    victims: list[LocalNode], nodes: list[LocalNode], quick: Path, tmp_path: Path
) -> None:
    dave = victims[1]
    needed = ("--min-nodes", 2, "--quorum-wait", 1)
    process = start_training(tmp_path, [nodes[0], dave], quick, "--rounds", 100_000, *needed)
    wait_for_first_round(process, 2)
    (trainer,) = children_of(dave.process.pid)
    os.kill(dave.process.pid, signal.SIGKILL)
    done = finish(process)
    assert done.code == 9
    assert "1 of the 2 nodes that a round needs took part" in done.err
    assert "lost the connection to node dave" in done.err
    assert "completed rounds are in" in done.err
    assert "train --resume runs/" in done.err
    assert "Traceback" not in done.err
    told = summary(tmp_path)
    assert told["status"] == "failed"
    assert "dave" in told["error"]
    rows = (next((tmp_path / "runs").glob("*/metrics.jsonl"))).read_text(encoding="utf-8")
    kept = [json.loads(line) for line in rows.splitlines()]
    assert kept[-1]["round"] == told["rounds_completed"] >= 1
    until(lambda: not is_alive(trainer), "the trainer to follow its node")
    wait_until_idle(nodes[0])


def test_a_node_that_is_stopped_while_it_trains_leaves_nothing_behind(
    victims: list[LocalNode], slow: Path, tmp_path: Path
) -> None:
    carol = victims[0]
    process = start_training(tmp_path, [carol], slow, "--quorum-wait", 0)
    wait_until_busy(carol)
    (trainer,) = children_of(carol.process.pid)
    carol.process.terminate()
    assert carol.process.wait(30) == 0
    assert not is_alive(trainer)
    until(lambda: any("stops and abandons" in line for line in carol.log), "the log to say so")
    done = finish(process)
    assert done.code == 9
    assert "carol" in done.err
    assert "Traceback" not in done.err + "".join(carol.log)
