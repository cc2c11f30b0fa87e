"""Where a node's policy, log, counts and all that lies beside them are, by flags and folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UsageError
from shared.identity.folder import Identity, load
from tests.helpers.identities import make_federation
from worker_node.guarding.policy import Mode, Policy
from worker_node.guarding.set_up import (
    OFF,
    Guarding,
    find_guarding,
    ledger_beside,
    ledger_of,
    models_beside,
    models_of,
    receipts_beside,
)

FEW = Policy(fewest_rows=3)


@pytest.fixture
def bob(tmp_path: Path) -> Identity:
    return load(make_federation(tmp_path).node("bob"), "node")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "few.toml"
    path.write_text("fewest_rows = 3\n", encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the node was started in, without a policy."""
    found = tmp_path / "here"
    found.mkdir()
    monkeypatch.chdir(found)
    return found


def test_with_an_identity_all_lies_in_its_folder(bob: Identity, here: Path, policy: Path) -> None:
    folder = bob.folder
    expected = Guarding(FEW, policy, folder / "audit.jsonl", folder / "counts.json", folder, None)
    assert find_guarding(policy, None, bob, "bob") == expected


def test_a_policy_in_the_identity_folder_is_found(bob: Identity, here: Path) -> None:
    own = bob.folder / "policy.toml"
    own.write_text("fewest_rows = 3\n", encoding="utf-8")
    found = find_guarding(None, None, bob, "bob")
    assert (found.policy, found.policy_file) == (FEW, own)


def test_without_one_it_lies_here_under_the_nodes_name(here: Path, policy: Path) -> None:
    log, counts = Path("bob.audit.jsonl"), Path("bob.audit.counts.json")
    assert find_guarding(policy, None, None, "bob") == Guarding(FEW, policy, log, counts)
    assert find_guarding(None, None, None, "bob") == Guarding(Policy(), None, log, counts)


def test_a_log_elsewhere_has_the_counts_beside_it(
    bob: Identity, here: Path, policy: Path, tmp_path: Path
) -> None:
    """Since an identity folder may be one that only it can be read from."""
    log, counts = tmp_path / "logs" / "b.jsonl", tmp_path / "logs" / "b.counts.json"
    found = find_guarding(policy, log, bob, "bob")
    assert found == Guarding(FEW, policy, log, counts, bob.folder)
    assert find_guarding(policy, log, None, "bob") == Guarding(FEW, policy, log, counts)


def test_a_log_that_is_off_leaves_the_counts_in_a_folder_that_can_be_written_to(
    bob: Identity, here: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = bob.folder / "counts.json"
    found = find_guarding(policy, OFF, bob, "bob")
    assert found == Guarding(FEW, policy, None, counts, bob.folder)
    assert find_guarding(policy, OFF, None, "bob") == Guarding(FEW, policy)
    # whoever runs tests may be one who may write everywhere
    asked: list[tuple[Path, int]] = []

    def refuses(path: Path, mode: int) -> bool:
        asked.append((path, mode))
        return False

    monkeypatch.setattr(os, "access", refuses)
    found = find_guarding(policy, OFF, bob, "bob")
    assert found == Guarding(FEW, policy, None, None, bob.folder)
    assert asked == [(bob.folder, os.W_OK)]


@pytest.mark.parametrize("log", [None, OFF, Path("b.jsonl")])
@pytest.mark.parametrize("is_known", [True, False])
def test_counts_and_models_are_where_the_owner_says(
    bob: Identity, here: Path, tmp_path: Path, log: Path | None, is_known: bool
) -> None:
    counts, models = tmp_path / "mine.json", tmp_path / "models"
    own = bob if is_known else None
    found = find_guarding(None, log, own, "bob", counts=counts, models=models)
    assert (found.counts, found.models) == (counts, models)
    assert found.identity == (bob.folder if is_known else None)


@pytest.mark.parametrize("log", [None, OFF])
def test_counts_of_the_older_name_in_the_identity_folder_go_on(
    bob: Identity, here: Path, log: Path | None
) -> None:
    older = bob.folder / "standing.json"
    older.write_text("{}", encoding="utf-8")
    assert find_guarding(None, log, bob, "bob").counts == older
    (bob.folder / "counts.json").write_text("{}", encoding="utf-8")
    assert find_guarding(None, log, bob, "bob").counts == bob.folder / "counts.json"


def test_counts_of_a_name_of_the_owners_own_have_no_older_name(here: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonstanding.json").write_text("{}", encoding="utf-8")
    (tmp_path / "standing.json").write_text("{}", encoding="utf-8")
    mine = tmp_path / "mine.json"
    assert find_guarding(None, None, None, "bob", counts=mine).counts == mine


@pytest.mark.parametrize(
    ("said", "allowed", "modes"),
    [
        (["evaluate"], (), ("evaluate",)),
        (["evaluate"], ("pointers",), ("evaluate", "pointers")),
        (["evaluate", "train"], ("train", "pointers", "train"), ("evaluate", "train", "pointers")),
    ],
)
def test_modes_are_those_of_the_policy_and_of_the_flags_each_once(
    here: Path, said: list[Mode], allowed: tuple[Mode, ...], modes: tuple[Mode, ...]
) -> None:
    words = ", ".join(f'"{one}"' for one in said)
    Path("policy.toml").write_text(f"modes = [{words}]\n", encoding="utf-8")
    assert find_guarding(None, None, None, "bob", allowed).policy.modes == modes


def test_coordinators_of_the_flags_go_before_the_policys(tmp_path: Path) -> None:
    own: Any = Guarding(Policy(coordinators=("hospital",)), counts=tmp_path)
    assert own.working_with(()) == own
    expected = Guarding(Policy(coordinators=("clinic", "lab")), counts=tmp_path)
    assert own.working_with(["clinic", "lab"]) == expected
    with pytest.raises(UsageError):
        own.working_with(["a clinic"])


@pytest.mark.parametrize(
    ("counts", "begins"),
    [
        ("counts.json", ""),
        ("standing.json", ""),
        ("bob.counts.json", "bob."),
        ("bob.standing.json", "bob."),
        ("mine.json", "mine."),
        ("mine", "mine."),
    ],
)
def test_what_lies_beside_the_counts_begins_as_they_do(
    counts: str, begins: str, tmp_path: Path
) -> None:
    path = tmp_path / counts
    assert ledger_beside(path) == tmp_path / f"{begins}privacy.jsonl"
    assert models_beside(path) == tmp_path / f"{begins}models"
    assert receipts_beside(path) == tmp_path / f"{begins}receipts.jsonl"
    assert ledger_of(Guarding(counts=path)) == ledger_beside(path)
    assert models_of(Guarding(counts=path)) == models_beside(path)
    assert models_of(Guarding(counts=path, models=tmp_path / "m")) == tmp_path / "m"


def test_without_counts_nothing_lies_beside_them(tmp_path: Path) -> None:
    assert ledger_of(Guarding()) is None
    assert models_of(Guarding()) is None
    assert models_of(Guarding(models=tmp_path / "m")) == tmp_path / "m"
