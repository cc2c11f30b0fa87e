"""`python -m worker_node budget`, as an owner types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.privacy.accountant import mu_of
from tests.helpers.running import Finished, run
from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.chain_file import anchor_of
from worker_node.privacy.ledger import Ledger

STRICT = Terms(30, "ab" * 32, mu_of(1.0, 1e-5), 2 * mu_of(1.0, 1e-5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an owner whose ledger has a run that was given up after two rounds of 30."""
    policy = "[differential_privacy]\nepsilon = 2.0\nhonest_owners = 3\n"
    (tmp_path / "policy.toml").write_text(policy, encoding="utf-8")
    ledger = Ledger(tmp_path / "privacy.jsonl")
    for number in (1, 2):
        which = Run("hospital", "a-run", "training")
        ledger.charge(which, number, "x", STRICT, None)
        ledger.answer(which, number, b"numbers")
    ledger.close()
    return tmp_path


def budget(folder: Path, *flags: str) -> Finished:
    return run("worker_node", "budget", "--identity", folder, *flags, cwd=folder)


def test_it_shows_what_was_spent_by_whom_and_what_is_left(folder: Path) -> None:
    done = budget(folder, "--recipe", "private-strict")
    assert done.code == 0, done.err
    training, held_out, first, cost = done.out.splitlines()
    assert "epsilon 1.00 of 2.00 is spent at delta 1e-05" in training
    assert "towards all others together" in training
    assert "epsilon 0.00 of 4.00" in held_out
    assert "hospital  a-run  2 of 30 rounds  epsilon 1.00" in first
    assert "counts as a whole until it is over" in first
    assert cost.startswith("A run of private-strict would tell epsilon 1.00 in 30 rounds, and fits")


def test_a_run_that_was_given_up_gives_back_what_it_did_not_use(folder: Path) -> None:
    before = json.loads(budget(folder, "--json").out)
    done = budget(folder, "--end", "a-run", "--json")
    assert done.code == 0, done.err
    after = json.loads(done.out)
    assert before["training"]["epsilon"] == pytest.approx(1.0)
    assert after["training"]["epsilon"] < 0.3
    assert after["runs"][0]["over"]
    assert json.loads(budget(folder, "--json").out) == after


def test_a_recipe_that_does_not_fit_is_said_to(folder: Path) -> None:
    assert "does not fit" in budget(folder, "--recipe", "private").out
    refused = budget(folder, "--recipe", "default")
    assert (refused.code, "is not private" in refused.err) == (2, True)


def test_a_ledger_that_is_gone_is_not_an_empty_one(folder: Path) -> None:
    (folder / "privacy.jsonl").unlink()
    done = budget(folder)
    assert (done.code, "it is missing, and its anchor is there" in done.err) == (7, True)
    anchor_of(folder / "privacy.jsonl").unlink()
    assert "epsilon 0.00" in budget(folder).out


def test_a_ledger_beside_counts_that_are_elsewhere_is_found_as_serve_keeps_it(
    folder: Path, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    audit.mkdir()
    for name in ("privacy.jsonl", "privacy.jsonl.anchor"):
        (folder / name).rename(audit / name)
    by_flag = budget(folder, "--counts", str(audit / "counts.json"))
    by_variable = run(
        *("worker_node", "budget", "--identity", folder),
        cwd=folder,
        FEDSMS_COUNTS=str(audit / "counts.json"),
    )
    assert by_flag.out == by_variable.out
    assert "hospital  a-run  2 of 30 rounds" in by_flag.out
    without = budget(folder)
    assert (without.code, "There is no ledger at" in without.err) == (0, True)
    assert "There is no ledger" not in by_flag.err


def test_an_unknown_run_is_named(folder: Path) -> None:
    done = budget(folder, "--end", "another")
    assert done.code == 2
    assert "'another'" in done.err
