"""What a node remembers of its runs, and what it does not countersign."""

from __future__ import annotations

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


def test_a_damaged_memory_is_told_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "participation.json"
    path.write_text('{"runs": {"r1": 3}}')
    with pytest.raises(StorageError, match="damaged"):
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
