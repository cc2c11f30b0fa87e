"""A node's guard from its start to its end: what it is made of, writes down, and lets go."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import FedsmsError, StorageError, UsageError
from shared.identity.folder import Identity, load, read_key
from shared.passport.statements import Anchor
from shared.wire.commands import CountersignCommand
from tests.helpers.identities import make_federation
from worker_node.audit.log import AuditLog, NoAudit
from worker_node.audit.reading import verify
from worker_node.data.shard import Message, Shard
from worker_node.guarding.day_counts import DayCounts
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding, opened
from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.ledger import Ledger

BUDGET = {"differential_privacy": {"epsilon": 2.0}}
ROWS = Shard((Message(0, "a"),) * 100, (Message(1, "b"),) * 100)


@pytest.fixture
def bob(tmp_path: Path) -> Identity:
    return load(make_federation(tmp_path).node("bob"), "node")


async def nothing(guard: Guard) -> None:
    """A node that ends as soon as it has begun."""


def during(
    found: Guarding, scene: Callable[[Guard], Awaitable[None]] = nothing, shard: Shard = ROWS
) -> None:
    async def begun() -> None:
        async with opened(found, "bob", shard) as guard:
            await scene(guard)

    asyncio.run(begun())


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def in_folder(folder: Path, **more: Any) -> Guarding:
    """Without an identity, with all files in a folder."""
    values = {"audit_log": folder / "audit.jsonl", "counts": folder / "counts.json", **more}
    return Guarding(**values)


def test_its_start_and_end_stand_in_the_log_with_the_policy_that_was_in_force(
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("fewest_rows = 3\n", encoding="utf-8")
    digest = hashlib.sha256(b"fewest_rows = 3\n").hexdigest()
    during(in_folder(tmp_path, policy_file=path))
    during(in_folder(tmp_path))
    told = [(line["what"], line["detail"]) for line in lines(tmp_path / "audit.jsonl")]
    assert told == [
        ("start", f"node bob, policy sha256 {digest}"),
        ("stop", "node bob"),
        ("start", "node bob, default policy"),
        ("stop", "node bob"),
    ]


def test_a_node_that_ends_by_an_error_has_no_end_in_its_log_and_lets_its_files_go(
    tmp_path: Path,
) -> None:
    found = in_folder(tmp_path)

    async def fails(guard: Guard) -> None:
        with pytest.raises(StorageError):  # another node's counts
            DayCounts(tmp_path / "counts.json")
        with pytest.raises(StorageError):
            Ledger(tmp_path / "privacy.jsonl")
        with pytest.raises(StorageError):
            AuditLog(tmp_path / "audit.jsonl")
        raise LookupError("the end")

    with pytest.raises(LookupError, match="the end"):
        during(found, fails)
    assert [line["what"] for line in lines(tmp_path / "audit.jsonl")] == ["start"]
    are_free(tmp_path)


def are_free(folder: Path) -> None:
    DayCounts(folder / "counts.json").close()
    Ledger(folder / "privacy.jsonl").close()
    asyncio.run(AuditLog(folder / "audit.jsonl").close())


@pytest.mark.parametrize("damaged", ["audit.jsonl", "privacy.jsonl", "receipts.jsonl"])
def test_a_node_that_cannot_start_lets_its_files_go(tmp_path: Path, damaged: str) -> None:
    during(in_folder(tmp_path))
    path = tmp_path / damaged
    whole = path.read_bytes() if path.exists() else b""
    path.write_text("no line\n", encoding="utf-8")
    with pytest.raises(FedsmsError, match=damaged):
        during(in_folder(tmp_path))
    path.write_bytes(whole)
    are_free(tmp_path)


def test_without_a_log_nothing_is_written_and_with_one_it_is_signed_by_the_node(
    bob: Identity, tmp_path: Path
) -> None:
    async def scene(guard: Guard) -> None:
        assert isinstance(guard.audit, NoAudit)

    during(Guarding(), scene)
    assert not list(tmp_path.glob("*.jsonl"))
    log = tmp_path / "audit.jsonl"
    during(in_folder(tmp_path, identity=bob.folder))
    own = read_key(bob.folder).public_key()
    assert verify(log, own).fault == ""
    stranger = make_federation(tmp_path / "others").node("bob")
    assert verify(log, read_key(stranger).public_key()).fault


def test_counts_receipts_and_models_are_kept_in_the_files_that_were_found(tmp_path: Path) -> None:
    found = in_folder(tmp_path, policy=Policy.model_validate({"leak": {"receipts": True}}))

    async def scene(guard: Guard) -> None:
        assert guard.policy is found.policy
        assert guard.receipts.are_on
        assert guard.receipts.kept.path == tmp_path / "receipts.jsonl"
        assert guard._keeper._kept.folder == tmp_path / "models"
        assert guard.releases.ledger.path == tmp_path / "privacy.jsonl"
        assert guard._counts.count("rounds", 1, found.policy.hours.now())

    during(found, scene)
    counted = json.loads((tmp_path / "counts.json").read_text(encoding="utf-8"))
    assert counted["rounds"] == 1


def test_receipts_are_written_where_the_policy_asks_for_them_and_nowhere_else(
    tmp_path: Path,
) -> None:
    async def scene(guard: Guard) -> None:
        assert guard.receipts.kept.path is None

    during(in_folder(tmp_path, policy=Policy.model_validate({"leak": {"receipts": False}})), scene)
    during(Guarding(policy=Policy.model_validate({"leak": {"receipts": True}})), scene)


# the privacy ledger


def test_a_budget_without_a_place_to_count_it_is_refused(tmp_path: Path) -> None:
    policy = Policy.model_validate(BUDGET)
    with pytest.raises(UsageError, match="no place to keep count of it"):
        during(Guarding(policy))

    async def scene(guard: Guard) -> None:
        assert guard.releases.ledger.path is None

    during(Guarding(), scene)  # without a budget none is needed

    async def bounded(guard: Guard) -> None:
        assert guard.releases.ledger.path == tmp_path / "privacy.jsonl"
        assert guard.releases._terms == policy.differential_privacy

    during(in_folder(tmp_path, policy=policy), bounded)


def test_the_ledger_is_signed_by_the_node(bob: Identity, tmp_path: Path) -> None:
    counts = bob.folder / "counts.json"
    during(Guarding(counts=counts, identity=bob.folder))
    Ledger(bob.folder / "privacy.jsonl", read_key(bob.folder)).close()
    stranger = make_federation(tmp_path / "others").node("bob")
    with pytest.raises(StorageError):
        Ledger(bob.folder / "privacy.jsonl", read_key(stranger))


def test_a_budget_that_was_spent_does_not_begin_anew_in_another_folder(
    bob: Identity, tmp_path: Path
) -> None:
    usual, elsewhere = bob.folder / "privacy.jsonl", tmp_path / "elsewhere"
    moved = Guarding(counts=elsewhere / "counts.json", identity=bob.folder)
    during(Guarding(counts=bob.folder / "counts.json", identity=bob.folder))
    during(moved)  # nothing was told yet
    for path in elsewhere.glob("*privacy*"):
        path.rename(tmp_path / path.name)
    ledger = Ledger(usual, read_key(bob.folder))
    ledger.charge(Run("hospital", "a-run", "training"), 1, "x", Terms(3, "ab" * 32, 1, 2), None)
    ledger.close()
    with pytest.raises(UsageError) as caught:
        during(moved)
    assert f"ledger is {usual}, and it would begin another at {elsewhere}" in caught.value.fact
    for told in (usual.name, f"{elsewhere}/privacy.results", f"{elsewhere}/privacy.jsonl.anchor"):
        assert told in caught.value.next_step
    assert not (elsewhere / "privacy.jsonl").exists()
    during(Guarding(counts=bob.folder / "counts.json", identity=bob.folder))
    for path in tmp_path.glob("privacy*"):  # one that is there goes on
        path.rename(elsewhere / path.name)
    during(moved)


# countersigning


def wanted() -> CountersignCommand:
    values = {"run": "r1", "recipe": "ab" * 32, "model": "cd" * 32, "rounds": [1], "rows": 9}
    return CountersignCommand.model_validate(values)


def test_a_node_countersigns_what_it_remembers_with_its_policy_and_its_logs_place(
    bob: Identity, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("fewest_rows = 3\n", encoding="utf-8")
    found = Guarding(
        policy_file=policy,
        audit_log=tmp_path / "audit.jsonl",
        counts=tmp_path / "b.counts.json",
        identity=bob.folder,
    )
    command = wanted()

    async def trains(guard: Guard) -> None:
        part = guard._countersigning.participation
        part.trains("hospital", command.run, command.recipe, 1, 9)

    async def signs(guard: Guard) -> None:
        says = guard._countersigning.sign("hospital", command).says
        last = (tmp_path / "audit.jsonl").read_bytes().splitlines()[-1]
        assert says.audit == Anchor(lines=3, hash=hashlib.sha256(last).hexdigest())
        digest = hashlib.sha256(policy.read_bytes()).hexdigest()
        assert (says.node, says.policy) == ("bob", f"policy sha256 {digest}")

    during(found, trains)
    assert (tmp_path / "b.participation.json").exists()
    during(found, signs)


def test_without_counts_or_a_log_a_node_countersigns_what_it_took_part_in_since_its_start(
    bob: Identity,
) -> None:
    command = wanted()

    async def scene(guard: Guard) -> None:
        part = guard._countersigning.participation
        part.trains("hospital", command.run, command.recipe, 1, 9)
        assert guard._countersigning.sign("hospital", command).says.audit is None

    during(Guarding(identity=bob.folder), scene)
    assert not (bob.folder / "participation.json").exists()


def test_without_an_identity_nothing_is_countersigned_or_remembered(tmp_path: Path) -> None:
    command = wanted()

    async def scene(guard: Guard) -> None:
        part = guard._countersigning.participation
        part.trains("hospital", command.run, command.recipe, 1, 9)
        with pytest.raises(FedsmsError, match="no key to sign with"):
            guard._countersigning.sign("hospital", command)

    during(in_folder(tmp_path), scene)
    assert not (tmp_path / "participation.json").exists()


# what the owner is told


def told(caplog: pytest.LogCaptureFixture, found: Guarding, shard: Shard = ROWS) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, "fedsms.node"):
        during(found, shard=shard)
    return [one.message for one in caplog.records if one.name == "fedsms.node"]


def warned(caplog: pytest.LogCaptureFixture, found: Guarding, shard: Shard = ROWS) -> list[str]:
    told(caplog, found, shard)
    return [one.message for one in caplog.records if one.levelno == logging.WARNING]


def test_the_owner_is_told_which_files_count(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("", encoding="utf-8")
    assert told(caplog, in_folder(tmp_path, policy_file=policy))[:3] == [
        f"policy: {policy}",
        f"audit log: {tmp_path / 'audit.jsonl'}",
        f"counts of the day: {tmp_path / 'counts.json'}",
    ]
    assert told(caplog, Guarding()) == [
        "policy: the defaults",
        "audit log: off, as you asked",
        "counts of the day: in memory, until the node stops",
    ]
    few = Shard(ROWS.train, ROWS.held_out, most_scored=99)
    assert "scores 99 of 100 held-out messages" in told(caplog, Guarding(), few)[-1]


def test_the_owner_is_warned_of_too_few_rows_for_the_policy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def of(**policy: Any) -> list[str]:
        return warned(caplog, Guarding(Policy.model_validate(policy)))

    assert of(fewest_rows=100, fewest_held_out_rows=100) == []
    (train,) = of(fewest_rows=101, fewest_held_out_rows=100)
    assert "refuse to train" in train
    (evaluate,) = of(fewest_rows=100, fewest_held_out_rows=101)
    assert "refuse to evaluate" in evaluate
    few = Shard(ROWS.train, ROWS.held_out, most_scored=99)
    policy = Policy(fewest_rows=0, fewest_held_out_rows=100)
    (scored,) = warned(caplog, Guarding(policy), few)
    assert "refuse to evaluate" in scored


def test_the_owner_is_warned_where_names_prove_nothing(
    caplog: pytest.LogCaptureFixture, bob: Identity
) -> None:
    named = Policy(coordinators=("hospital",))
    (without,) = warned(caplog, Guarding(named))
    assert "nothing proves that a coordinator is one of the policy's" in without
    assert warned(caplog, Guarding(named, identity=bob.folder)) == []
    assert warned(caplog, Guarding()) == []


def test_the_owner_is_warned_of_counts_of_a_day_to_come(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "counts.json").write_text('{"day": "2999-01-01"}', encoding="utf-8")
    (warning,) = warned(caplog, in_folder(tmp_path))
    assert "2999-01-01, which has not come" in warning
