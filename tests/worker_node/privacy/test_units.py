"""What a ledger's runs count for, of a message and of an owner."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from shared.errors import StorageError
from tests.helpers.running import run
from tests.worker_node.privacy.test_ledger import KEY, refused
from worker_node.privacy.accounts import Accounts, Run, Terms
from worker_node.privacy.ledger import LEDGER, Ledger

OF_OWNER = Terms(2, "ab" * 32, 0.5, 0.8, "owner")
OF_MESSAGE = Terms(2, "cd" * 32, 0.5, 0.8)
MOST = 0.75


def told(ledger: Ledger, name: str, terms: Terms, numbers: int = 2) -> None:
    which = Run("hospital", name, "training")
    for number in range(1, numbers + 1):
        ledger.charge(which, number, "x", terms, None)
        ledger.answer(which, number, b"numbers")


def test_what_was_told_of_an_owner_counts_for_both_units(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER, KEY)
    told(ledger, "a", OF_OWNER)
    assert ledger.accounts.spent("training", "owner") == (0.5, 0.8)
    assert ledger.accounts.spent("training", "message") == (0.5, 0.8)
    told(ledger, "b", OF_MESSAGE)
    assert ledger.accounts.spent("training", "message")[0] == pytest.approx(math.sqrt(0.5))
    assert ledger.accounts.spent("training", "owner") == (math.inf, math.inf)
    assert ledger.accounts.spent("held_out", "owner") == (0.0, 0.0)
    ledger.close()
    assert Ledger(tmp_path / LEDGER, KEY).accounts.spent("training", "owner")[0] == math.inf


def test_an_owners_budget_admits_no_run_that_counts_messages(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER, KEY)
    which = Run("hospital", "a", "training")
    with refused("unit"):
        ledger.charge(which, 1, "x", Terms(1, "r", 1e-9, 1e-9), MOST, "owner")
    assert ledger.accounts.runs == {}
    ledger.charge(which, 1, "x", OF_OWNER, MOST, "owner")
    with refused("epsilon"):  # a second run of it is too much
        ledger.charge(Run("hospital", "b", "training"), 1, "x", OF_OWNER, 0.7, "owner")


def test_after_a_run_that_counts_messages_there_is_no_budget_of_an_owner(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER, KEY)
    told(ledger, "a", OF_MESSAGE, 1)
    which = Run("hospital", "b", "training")
    with refused("unit"):
        ledger.check(which, OF_OWNER, 64.0, "owner")
    ledger.check(which, OF_OWNER, MOST, "message")
    ledger.end(Run("hospital", "a", "training"))  # what was told stays told
    with refused("unit"):
        ledger.check(which, OF_OWNER, 64.0, "owner")


def test_a_run_is_of_one_unit(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER, KEY)
    told(ledger, "a", OF_OWNER, 1)
    same_but_for_the_unit = Terms(2, "ab" * 32, 0.5, 0.8, "message")
    with refused("run"):
        ledger.check(Run("hospital", "a", "training"), same_but_for_the_unit, None)


def test_an_older_ledger_counts_messages_and_an_unknown_unit_is_damage(tmp_path: Path) -> None:
    line = {"what": "reserve", "who": "x", "run": "y", "part": "training"}
    line |= {"releases": 1, "recipe": "r", "mu": 0.5, "alone": 0.5}  # type: ignore[dict-item]
    assert Accounts([line]).spent("training", "owner")[0] == math.inf
    assert Accounts([line | {"unit": "owner"}]).spent("training", "owner")[0] == 0.5
    for unit in ("village", "", None, 1):
        with pytest.raises(ValueError, match="unit"):
            Accounts([line | {"unit": unit}])
    ledger = Ledger(tmp_path / LEDGER, KEY)
    assert ledger._file is not None
    ledger._file.append(line | {"unit": "village"})
    ledger.close()
    with pytest.raises(StorageError, match="a unit that this version does not know"):
        Ledger(tmp_path / LEDGER, KEY)


def test_the_budget_is_shown_of_the_owner(tmp_path: Path) -> None:
    policy = '[differential_privacy]\nepsilon = 8.0\nunit = "owner"\nhonest_owners = 29\n'
    (tmp_path / "policy.toml").write_text(policy, encoding="utf-8")
    ledger = Ledger(tmp_path / LEDGER)
    told(ledger, "a", OF_OWNER)
    ledger.close()

    def budget(*flags: str) -> str:
        done = run("worker_node", "budget", "--identity", tmp_path, *flags, cwd=tmp_path)
        assert done.code == 0, done.err
        return done.out

    training, _, first, cost = budget("--recipe", "private-owner").splitlines()
    assert "of 8.00 is spent at delta 1e-05 of you as an owner" in training
    assert "2 of 2 rounds  epsilon 1.99 of you as an owner" in first
    assert "epsilon 8.00 of you as an owner in 12 rounds, and does not fit" in cost
    refused_cost = json.loads(budget("--recipe", "private-strict", "--json"))["cost"]
    assert (refused_cost["fits"], refused_cost["unit"]) == (False, "message")
    assert "each message for itself" in refused_cost["words"]

    ledger = Ledger(tmp_path / LEDGER)
    told(ledger, "b", OF_MESSAGE)
    ledger.close()
    assert "has no bound for an owner" in budget().splitlines()[0]
    assert not json.loads(budget("--recipe", "private-owner", "--json"))["cost"]["fits"]
