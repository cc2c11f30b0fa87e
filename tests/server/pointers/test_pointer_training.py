"""`train --mode pointers` as its user meets it: run folder, equal replay, refusals."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.local.nodes import NO_SETTINGS, local_nodes
from shared.trained_model.saved_model import load
from tests.conftest import OwnerFiles
from tests.helpers.pointers import write_recipe
from tests.helpers.running import Finished, finish, greeting_of, start, until

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def flags(owners: list[OwnerFiles]) -> Iterator[list[str]]:
    """Two nodes whose owners allow pointers, as `python -m server` takes them."""
    allowed = {owner.id: (*owner.flags, "--allow", "pointers") for owner in owners}
    with local_nodes(allowed) as running:
        yield [part for node in running for part in ("--node", node.flag)]


def train(cli: Cli, tmp_path: Path, flags: list[str], *more: str) -> Path:
    recipe = write_recipe(tmp_path)
    done = cli("server", "train", *flags, "--recipe", recipe, "--mode", "pointers", *more, "--json")
    assert done.code == 0, done.err
    assert "lost the connection" not in done.err
    return tmp_path / Path(json.loads(done.out.splitlines()[-1])["run"])


def test_a_run_through_pointers_leaves_the_same_folder_as_rounds_do(
    cli: Cli, tmp_path: Path, flags: list[str], owners: list[OwnerFiles]
) -> None:
    folder = train(cli, tmp_path, flags)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["round"], row["node"]) for row in rows] == [
        (number, node) for number in (1, 2) for node in ("anne", "bob", "*")
    ]
    for row, owner in zip(rows, owners, strict=False):
        assert row["rows"] == len(owner.train)
        assert row["held_out_rows"] == len(owner.held_out)
        assert row["bytes_sent"] > 0
        assert row["seconds_training"] > 0
    assert rows[-1]["held_out_rows"] == 90
    assert rows[-1]["loss"] < rows[2]["loss"]
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["mode"], settings["replay"]) == ("pointers", False)
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    done = cli("server", "evaluate", *flags, "--model", str(folder), "--json")
    told = json.loads(done.out)["all"]
    pointed = {name: rows[-1][f"held_out_{name}"] for name in ("rows", "true_positives", "roc_auc")}
    assert {name: told[name] for name in pointed} == pytest.approx(pointed, abs=1e-3)


def test_a_replayed_run_gives_the_same_model_and_the_same_losses(
    cli: Cli, tmp_path: Path, flags: list[str]
) -> None:
    folders = [train(cli, tmp_path, flags), train(cli, tmp_path, flags, "--replay")]
    models = [load(folder) for folder in folders]
    assert (models[0].state == models[1].state).all()
    tables = [(folder / "metrics.jsonl").read_text().splitlines() for folder in folders]
    losses = [[json.loads(line)["loss"] for line in table] for table in tables]
    assert losses[0] == losses[1]


def test_an_owner_who_allows_no_pointers_ends_the_run_with_a_word_on_who_must_allow_them(
    cli: Cli, tmp_path: Path, node_flags: list[str]
) -> None:
    recipe = write_recipe(tmp_path)
    done = cli("server", "train", *node_flags, "--recipe", recipe, "--mode", "pointers")
    assert done.code == 10
    assert "node anne" in done.err
    assert "does not allow pointer operations" in done.err
    assert "python -m worker_node serve --allow pointers" in done.err


def test_ctrl_c_between_batches_keeps_the_completed_rounds(
    tmp_path: Path, flags: list[str], owners: list[OwnerFiles]
) -> None:
    recipe = write_recipe(tmp_path)
    more = ("--recipe", recipe, "--mode", "pointers", "--rounds", "100000", "--json")
    process = start("server", "train", *flags, *NO_SETTINGS, *more, cwd=tmp_path)
    until(lambda: any(tmp_path.glob("runs/*/metrics.jsonl")), "a first round")
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130
    assert "stopped after" in done.err
    (summary,) = tmp_path.glob("runs/*/summary.json")
    assert json.loads(summary.read_text())["status"] == "interrupted"
    for flag in flags[1::2]:
        node, _, url = flag.partition("=")
        assert greeting_of(node, url).busy == ""


def test_serve_reads_what_is_allowed_from_the_environment(
    tmp_path: Path, owners: list[OwnerFiles]
) -> None:
    more = ("--id", "bob", "--port", "0", "--json", *owners[1].flags)
    process = start("worker_node", "serve", *more, cwd=tmp_path, FEDSMS_ALLOW="pointers")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 0
    assert "pointer operations are allowed" in done.err


def test_serve_allows_nothing_that_it_does_not_know(cli: Cli, owners: list[OwnerFiles]) -> None:
    done = cli("worker_node", "serve", "--id", "bob", *owners[1].flags, "--allow", "everything")
    assert done.code == 2
    assert "pointers" in done.err


def test_a_single_node_is_enough(cli: Cli, tmp_path: Path, flags: list[str]) -> None:
    folder = train(cli, tmp_path, flags[:2], "--replay")
    assert (folder / "model.safetensors").exists()
