"""`python -m worker_node predict`: an owner's messages and a model it was handed, at home."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import state_digest
from tests.conftest import OwnerFiles, write_owner
from tests.helpers.messages import write_tsv
from tests.helpers.running import Finished, done_well, refused, run_python
from worker_node.data.shard import Message
from worker_node.guarding.kept_models import KeptModels, Origin

Cli = Callable[..., Finished]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def hand_out(folder: Path, recipe: Recipe, coordinator: str = "hospital", run: str = "r1") -> Path:
    """A model whose verdicts differ, kept as a node keeps it."""
    noise = np.random.default_rng(5).normal(size=recipe.parameters).astype(np.float32)
    state = initial_state(recipe, 1) + noise
    origin = Origin(coordinator, "", run, 2, 2, state_digest(state).hex(), False)
    return KeptModels(folder).keep(recipe, state, origin, 3)


@pytest.fixture
def models(recipe: Recipe, tmp_path: Path) -> Path:
    hand_out(tmp_path / "identity" / "models", recipe)
    return tmp_path / "identity" / "models"


@pytest.fixture
def own(tmp_path: Path) -> OwnerFiles:
    return write_owner(tmp_path, "bob", 40, 20, seed=3)


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_each_of_the_owners_messages_has_its_label_and_its_verdict(
    cli: Cli, models: Path, own: OwnerFiles
) -> None:
    done = cli("worker_node", "predict", "--own-messages", "--json", *own.flags)
    told = objects(done_well(done))
    rows = [("train", one) for one in own.train] + [("held-out", one) for one in own.held_out]
    names = ("ham", "spam")
    assert [(one["part"], one["own_label"], one["text"]) for one in told] == [
        (part, names[one.label], one.text) for part, one in rows
    ]
    assert {one["label"] for one in told} == {"ham", "spam"}
    assert all((one["label"] == "spam") == (one["spam"] >= 0.5) for one in told)
    spam = sum(one["label"] == "spam" for one in told)
    assert f"60 messages: {spam} spam, {60 - spam} ham" in done.err
    assert f"The newest model: {next(models.iterdir()).relative_to(models.parents[1])}" in done.err
    assert "Handed out by hospital after round 2 of run r1; this node did not measure" in done.err
    # the same texts get the same verdicts however they are given
    alone = objects(
        done_well(cli("worker_node", "predict", "--json", *[one["text"] for one in told[:9]]))
    )
    assert [one["spam"] for one in alone] == [one["spam"] for one in told[:9]]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_where_label_and_verdict_disagree_is_listed_the_most_confident_first(
    cli: Cli, own: OwnerFiles, threshold: float
) -> None:
    flags = (*own.flags, "--json", "--threshold", threshold)
    everything = objects(done_well(cli("worker_node", "predict", "--own-messages", *flags)))
    done = cli("worker_node", "predict", "--own", *flags)
    told = objects(done_well(done))
    wanted = [one for one in everything if one["label"] != one["own_label"]]
    assert 0 < len(wanted) < len(everything)
    assert sorted(map(str, told)) == sorted(map(str, wanted))
    sure = [abs(one["spam"] - threshold) for one in told]
    assert sure == pytest.approx(sorted(sure, reverse=True), abs=2e-6)
    assert f"disagree on {len(wanted)}: " in done.err
    lines = done_well(cli("worker_node", "predict", "--own", *own.flags)).splitlines()
    assert all(re.match(r"(ham |spam)  0\.\d{4}  labelled (ham |spam)  ", line) for line in lines)


@pytest.mark.usefixtures("models")
def test_a_file_lines_and_a_table_are_read_as_the_coordinators_predict_reads_them(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("win a prize\nsee you\n")
    out = done_well(cli("worker_node", "predict", "--file", "lines.txt"))
    assert [line.split("  ")[-1] for line in out.splitlines()] == ["win a prize", "see you"]
    (tmp_path / "table.csv").write_text('body,n\n"win, now",1\nsee you,2\n')
    table = ("--table", "csv", "--text-column", "body", "--file", "table.csv")
    rows = list(csv.DictReader(io.StringIO(done_well(cli("worker_node", "predict", *table)))))
    assert [(row["body"], row["n"]) for row in rows] == [("win, now", "1"), ("see you", "2")]
    assert {row["predicted"] for row in rows} <= {"ham", "spam"}
    assert all(0 <= float(row["predicted_score"]) <= 1 for row in rows)


def test_what_it_shows_of_messages_and_of_whoever_handed_it_out_drives_no_terminal(
    cli: Cli, recipe: Recipe, tmp_path: Path
) -> None:
    hand_out(tmp_path / "models", recipe, "evil\x1b[2J\u202e", "run\n\x9b31mforged")
    text = "win\x1b[2J \x1b]0;owned\x07 \u202egnp.exe\u2066 \x9b31m \u2028 नमस्ते £5"
    rows = [Message(0, text), Message(1, text), Message(0, "see you"), Message(1, "prize")]
    data = write_tsv(tmp_path / "own.tsv", rows)
    where = ("--models", tmp_path / "models", "--data", data, "--held-out", 0)
    for own in ("--own-messages", "--own"):
        done = cli("worker_node", "predict", own, *where)
        out = done_well(done)
        assert "\\x1b[2J" in out
        assert "नमस्ते £5" in out
        assert not CONTROLS.search(out)
        assert not CONTROLS.search(done.err)
        assert len([line for line in done.err.splitlines() if "Handed out by" in line]) == 1
    assert not CONTROLS.search(done_well(cli("worker_node", "predict", "--json", *where[:2], text)))


def test_what_cannot_be_is_one_clear_error(cli: Cli, own: OwnerFiles, tmp_path: Path) -> None:
    refused(cli("worker_node", "predict", "hello"), "handed out", "--hand-out", code=7)
    refused(cli("worker_node", "predict", "--own"), "where the owner's messages are", code=2)
    mixed = cli("worker_node", "predict", "--own", "hello", *own.flags)
    refused(mixed, "both asked for", code=2)
    refused(cli("worker_node", "predict", "--model", tmp_path / "none", "hi"), "none", code=7)


NO_MODULE_NO_SOCKET = """
import runpy, sys
found = []
sys.addaudithook(lambda event, _: found.append(event) if event.startswith("socket.") else None)
sys.argv = ["worker_node", *sys.argv[1:]]
try:
    runpy.run_module("worker_node", run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *sys.modules)
print("SOCKETS", *found)
"""


def test_it_needs_neither_torch_nor_pysyft_and_opens_no_connection(
    models: Path, own: OwnerFiles, tmp_path: Path
) -> None:
    flags = ("--models", models, *own.flags)
    done = run_python("-c", NO_MODULE_NO_SOCKET, "predict", "--own", *flags, cwd=tmp_path)
    *_, loaded, sockets = done_well(done).splitlines()
    assert "numpy" in loaded.split()
    assert {"torch", "syft", "websockets"} & set(loaded.split()) == set()
    assert sockets == "SOCKETS"
