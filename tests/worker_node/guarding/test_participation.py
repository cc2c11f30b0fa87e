"""What a node remembers of its runs, and what it does not countersign."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NodeFailed, PolicyRefused, StorageError
from shared.wire.commands import CountersignCommand
from worker_node.guarding.countersigning import Countersigning
from worker_node.guarding.guard import Guard, Who
from worker_node.guarding.participation import MAX_MODELS, MAX_RUNS, Participation
from worker_node.guarding.policy import Policy

RECIPE, MODEL = "ab" * 32, "cd" * 32


def told(**changed: Any) -> CountersignCommand:
    values = {"run": "r1", "recipe": RECIPE, "model": MODEL, "rounds": [1, 3], "rows": 60}
    return CountersignCommand.model_validate({**values, **changed})


def memory(path: Path | None = None) -> Participation:
    kept = Participation(path)
    for number in (1, 2, 3):
        kept.trains("hospital", "r1", RECIPE, number, 60)
    return kept


def test_what_was_done_is_agreed_to_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "participation.json"
    memory(path).measures("hospital", MODEL)
    again = Participation(path)
    again.check("hospital", told())
    again.check("hospital", told(rows=None))
    assert again.has_measured("hospital", MODEL)
    assert not again.has_measured("clinic", MODEL)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("coordinator", "changed", "why"),
    [
        ("clinic", {}, "no such run of clinic"),
        ("hospital", {"run": "r2"}, "no such run of hospital"),
        ("hospital", {"recipe": "00" * 32}, "another recipe"),
        ("hospital", {"rounds": [1, 4]}, "round 4"),
        ("hospital", {"rows": 61}, "another number of rows"),
    ],
)
def test_what_is_not_so_is_not_countersigned(
    coordinator: str, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(NodeFailed) as caught:
        memory().check(coordinator, told(**changed))
    assert why in caught.value.cause


def test_a_run_stays_whose_it_was_whoever_names_it_later() -> None:
    kept = memory()
    kept.trains("clinic", "r1", RECIPE, 4, 60)
    kept.trains("hospital", "r1", "00" * 32, 5, 60)
    kept.check("hospital", told(rounds=[1, 2, 3]))
    for number, coordinator in ((4, "clinic"), (4, "hospital"), (5, "hospital")):
        with pytest.raises(NodeFailed):
            kept.check(coordinator, told(rounds=[number]))


def test_the_memory_is_bounded_and_keeps_the_newest() -> None:
    kept = memory()
    for number in range(MAX_RUNS):
        kept.trains("hospital", f"more-{number}", RECIPE, 1, 60)
    with pytest.raises(NodeFailed):
        kept.check("hospital", told())
    kept.check("hospital", told(run=f"more-{MAX_RUNS - 1}", rounds=[1]))
    for number in range(MAX_MODELS + 1):
        kept.measures("hospital", f"{number:064x}")
    assert not kept.has_measured("hospital", f"{0:064x}")
    assert kept.has_measured("hospital", f"{MAX_MODELS:064x}")


PART = {"coordinator": "hospital", "recipe": RECIPE, "rows": 60}


@pytest.mark.parametrize(
    "kept",
    [
        {"runs": {"r1": 3}},
        {"more": {}},
        {"runs": {"r1": {**PART, "more": 1}}},
        {"runs": {"r1": {**PART, "rows": "60"}}},
        {"measured": {"hospital": [1]}},
    ],
)
def test_a_damaged_memory_is_told_and_not_taken_for_an_empty_one(
    kept: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "participation.json"
    path.write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(StorageError, match="damaged"):
        Participation(path)


def test_a_model_that_is_measured_again_is_remembered_once_and_as_the_newest() -> None:
    kept = Participation()
    models = [f"{number:064x}" for number in range(MAX_MODELS + 1)]
    for model in (*models[:MAX_MODELS], models[0], models[0], models[MAX_MODELS]):
        kept.measures("hospital", model)
    forgotten = [model for model in models if not kept.has_measured("hospital", model)]
    assert forgotten == [models[1]]


def test_coordinators_whose_models_were_measured_are_bounded_too() -> None:
    kept = Participation()
    for number in range(MAX_RUNS + 1):
        kept.measures(f"c{number}", MODEL)
    known = [number for number in range(MAX_RUNS + 1) if kept.has_measured(f"c{number}", MODEL)]
    assert known == list(range(1, MAX_RUNS + 1))


def test_a_training_is_remembered_before_any_model_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "participation.json"
    memory(path)
    Participation(path).check("hospital", told())


def test_only_the_owner_reads_it_and_no_training_waits_for_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, synced.append)
    memory(tmp_path / "participation.json")
    assert (tmp_path / "participation.json").stat().st_mode & 0o777 == 0o600
    assert synced == []


def test_what_cannot_be_noted_is_an_error(tmp_path: Path) -> None:
    kept = Participation(tmp_path / "gone" / "participation.json")
    with pytest.raises(NodeFailed, match="cannot note"):
        kept.trains("hospital", "r1", RECIPE, 1, 60)
    with pytest.raises(NodeFailed, match="cannot note"):
        kept.measures("hospital", MODEL)


def test_a_memory_above_64_mib_is_not_read(tmp_path: Path) -> None:
    path, most = tmp_path / "participation.json", 64 * 2**20
    path.write_text("{}" + " " * (most - 2), encoding="ascii")
    Participation(path)
    with path.open("a", encoding="ascii") as file:
        file.write(" ")
    with pytest.raises(StorageError):
        Participation(path)


def test_how_many_rows_there_are_cannot_be_tried_out_where_nobody_is_told() -> None:
    policy = Policy.model_validate({"secure_aggregation": {"required": True}})
    guard = Guard(policy, countersigning=Countersigning(memory()))
    answers = set()
    for rows in (59, 60, 61):
        with pytest.raises(PolicyRefused) as caught:
            guard.countersign(Who(name="hospital", certificate="ab"), told(rows=rows))
        answers.add(caught.value.words)
    assert len(answers) == 1


def test_a_node_without_certificate_has_nothing_to_sign_with() -> None:
    guard = Guard(countersigning=Countersigning(memory()))
    with pytest.raises(NodeFailed, match="no key"):
        guard.countersign(Who(name="hospital"), told())
