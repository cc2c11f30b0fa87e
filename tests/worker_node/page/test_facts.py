"""What the page adds up, and how it reads the log while the node writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shared.errors import PolicyRefused
from shared.privacy.accountant import mu_of
from shared.secure_aggregation.violation import Violation
from tests.helpers.federating import until
from tests.test_house import loads
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog, NoAudit
from worker_node.audit.reading import newest
from worker_node.guarding.guard import Guard
from worker_node.guarding.pause import Pause
from worker_node.guarding.policy import refusal
from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
from worker_node.page.facts import budget_of
from worker_node.page.log_check import LogCheck
from worker_node.page.tally import MAX_KINDS, MAX_LINES, MAX_NAMES, NO_RULE, OTHERS, Tally
from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.ledger import Ledger
from worker_node.secure_aggregation.refusing import refusing


def asked(what: str = "train", who: str = "hospital", **more: object) -> Entry:
    return Entry(what, who, "AB:12", "127.0.0.1:5", **more)  # type: ignore[arg-type]


def test_what_left_is_added_up_by_whom_it_went_to() -> None:
    tally = Tally()
    tally.take(asked(decision="began"))
    tally.take(asked(bytes_out=100))
    tally.take(asked("fetch", bytes_out=1000))
    tally.take(asked("fetch", who="clinic", bytes_out=5, decision="failed"))
    tally.take(Entry("start", detail="node bob"))
    found = {row["who"]: row for row in tally.asked()}
    assert set(found) == {"hospital", "clinic"}
    assert found["hospital"]["kinds"] == {"train": 1, "fetch": 1}
    assert (found["hospital"]["answered"], found["hospital"]["bytes_out"]) == (2, 1100)
    assert (found["clinic"]["failed"], found["clinic"]["answered"]) == (1, 0)
    assert tally.taken == len(tally.lines) == 5


def test_a_name_that_is_not_proved_is_not_added_to_the_one_that_is() -> None:
    tally = Tally()
    tally.take(asked(bytes_out=100))
    tally.take(Entry("train", "hospital", "", "127.0.0.1:6", bytes_out=7))
    assert {(one["is_proved"], one["bytes_out"]) for one in tally.asked()} == {
        (True, 100),
        (False, 7),
    }


def refused_entry(error: PolicyRefused) -> Entry:
    return asked(decision="refused", detail=error.words)


def test_refusals_are_counted_by_the_rule_that_says_no() -> None:
    tally = Tally()
    for _ in range(2):
        tally.take(refused_entry(refusal("day.rounds", "5 rounds a day")))
    tally.take(refused_entry(Pause.refusal()))
    with pytest.raises(PolicyRefused) as caught, refusing():
        raise Violation("one_roster", "there was another")
    tally.take(refused_entry(caught.value))
    tally.take(asked(decision="refused", detail="another version"))
    assert {rule: one["times"] for rule, one in tally.refused().items()} == {
        "day.rounds": 2,
        "pause": 1,
        "secure_aggregation.one_roster": 1,
        NO_RULE: 1,
    }


@pytest.mark.parametrize("words", ["(rule day.rounds)", "no such thing (rule modes): it"])
def test_what_a_peer_says_is_no_rule(words: str) -> None:
    tally = Tally()
    tally.take(asked(decision="refused", detail=words))
    assert set(tally.refused()) == {NO_RULE}


def test_however_many_names_and_kinds_there_are_memory_is_bounded_and_nothing_is_lost() -> None:
    tally = Tally()
    for number in range(3 * MAX_NAMES):
        tally.take(asked(who=f"owner-{number}", bytes_out=1))
    for number in range(3 * MAX_KINDS):
        tally.take(asked(f"what-{number}", who="owner-0", bytes_out=1))
    rows = tally.asked()
    assert len(rows) == MAX_NAMES + 1
    assert sum(row["bytes_out"] for row in rows) == 3 * (MAX_NAMES + MAX_KINDS)
    first = next(row for row in rows if row["who"] == "owner-0")
    assert len(first["kinds"]) == MAX_KINDS + 1
    assert first["kinds"][OTHERS] == 2 * MAX_KINDS + 1
    assert len(tally.lines) == MAX_LINES


def test_the_log_verifies_however_much_is_written_meanwhile(tmp_path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl", rotate_bytes=20_000)
        check = LogCheck(log, None, lambda: None)
        try:
            for _ in range(20):
                assert check.begin()
                while check.told["state"] == "checking":
                    assert not check.begin()
                    await asyncio.gather(*(log.record(asked()) for _ in range(8)))
                assert check.told["state"] == "whole", check.told
        finally:
            await check.close()
            await log.close()
        assert newest(log.path, 3)[-1]["n"] == log.place.n

    asyncio.run(scene())
    assert len(list(tmp_path.glob("audit.jsonl.0*"))) > 1


@pytest.mark.parametrize("harm", ["a line less", "another log", "no file"])
def test_a_log_that_is_not_as_the_node_wrote_it_is_faulty(tmp_path: Path, harm: str) -> None:
    async def scene() -> None:
        path = tmp_path / "audit.jsonl"
        log = AuditLog(path)
        check = LogCheck(log, None, lambda: None)
        try:
            for _ in range(5):
                await log.record(asked())
            lines = path.read_bytes().splitlines(keepends=True)
            if harm == "a line less":
                path.write_bytes(b"".join(lines[:-1]))
            elif harm == "no file":
                path.unlink()
            else:  # whole by itself, with an anchor of its own
                other = AuditLog(tmp_path / "other" / "audit.jsonl")
                for _ in range(5):
                    await other.record(asked("fetch"))
                await other.close()
                for name in ("audit.jsonl", "audit.jsonl.anchor"):
                    (tmp_path / name).write_bytes((tmp_path / "other" / name).read_bytes())
            assert check.begin()
            await until(lambda: check.told["state"] != "checking", "the verdict")
            assert check.told["state"] == "faulty", check.told
        finally:
            await check.close()
            await log.close()

    asyncio.run(scene())


def test_without_a_log_there_is_nothing_to_verify() -> None:
    check = LogCheck(NoAudit(), None, lambda: None)
    assert check.told["state"] == "off"
    assert not check.begin()


def test_the_budget_is_what_the_ledger_says() -> None:
    ledger = Ledger()
    which, terms = Run("hospital", "a-run", "training"), Terms(30, "ab" * 32, mu_of(1, 1e-5), 1.0)
    ledger.charge(which, 1, "x", terms, None)
    found = budget_of(ledger.accounts, DifferentialPrivacyTerms(epsilon=2.0))
    assert found["parts"]["training"]["epsilon"] == pytest.approx(1.0)
    assert found["parts"]["training"]["most"] == 2.0
    assert found["parts"]["held-out"]["epsilon"] == 0.0
    (run,) = found["runs"]
    assert (run["coordinator"], run["told"], run["releases"], run["over"]) == (
        *("hospital", 1, 30),
        False,
    )


def test_the_days_counts_are_those_that_the_policy_bounds() -> None:
    guard = Guard()
    guard.take_bits(72)
    assert guard.today()["numbers"] == (64, guard.policy.pointers.numbers)
    assert guard.today()["rounds"] == (0, guard.policy.day.rounds)


def test_a_node_without_a_page_loads_nothing_of_it() -> None:
    serving = "worker_node.serving.serve"
    assert loads(serving, "shared.page.serving", "worker_node.page.owner_page") == set()
