"""The page's sums, counted again by the test, and what bounds them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker_node.audit.lines import Entry
from worker_node.guarding.policy import refusal
from worker_node.page import tally as tally_module
from worker_node.page.tally import Tally


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is a second after the one before; the first is at ten o'clock."""
    seconds: Iterator[int] = itertools.count()

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 1, 2, 10, tzinfo=UTC) + timedelta(seconds=next(seconds))

    monkeypatch.setattr(tally_module, "datetime", Clock)


def at(seconds: int) -> str:
    return f"2026-01-02T10:{seconds // 60:02d}:{seconds % 60:02d}Z"


def asked(what: str = "train", who: str = "hospital", **more: Any) -> Entry:
    return Entry(what, who, more.pop("certificate", "AB:12"), "127.0.0.1:5", **more)


def by_rule(rule: str) -> dict[str, Any]:
    return {"decision": "refused", "detail": refusal(rule, "why").words}


@pytest.mark.usefixtures("clock")
def test_everything_of_a_coordinator_is_counted_and_nothing_twice() -> None:
    tally = Tally()
    for entry in (
        asked(bytes_out=3),
        asked(decision="began", bytes_out=1000),  # counted when it has ended
        asked("fetch", bytes_out=4),
        asked("fetch", bytes_out=5, decision="failed"),
        asked("fetch", bytes_out=6, **by_rule("day.rounds")),
        asked("fetch", bytes_out=7, **by_rule("day.rounds")),
        asked("fetch", bytes_out=7, **by_rule("modes")),
    ):
        tally.take(entry)
    assert tally.asked() == [
        {
            "who": "hospital",
            "is_proved": True,
            "kinds": {"train": 1, "fetch": 5},
            "answered": 2,
            "refused": 3,
            "failed": 1,
            "bytes_out": 32,
            "last": at(6),
        }
    ]
    assert tally.taken == 7


@pytest.mark.usefixtures("clock")
def test_of_each_rule_the_newest_is_told_and_the_most_frequent_rule_is_first() -> None:
    tally = Tally()
    for who, what, rule in (
        ("clinic", "pointers", "day.rounds"),
        ("clinic", "train", "modes"),
        ("hospital", "fetch", "modes"),
    ):
        tally.take(asked(what, who, **by_rule(rule)))
    assert list(tally.refused().items()) == [
        ("modes", {"times": 2, "who": "hospital", "what": "fetch", "last": at(2)}),
        ("day.rounds", {"times": 1, "who": "clinic", "what": "pointers", "last": at(0)}),
    ]


@pytest.mark.usefixtures("clock")
def test_who_asked_last_is_first_also_where_it_was_known_before() -> None:
    tally = Tally()
    for who in ("a", "c", "b", "a"):
        tally.take(asked(who=who))
    assert [row["who"] for row in tally.asked()] == ["a", "b", "c"]
    tally.take(asked(who="c", decision="began"))
    assert [row["who"] for row in tally.asked()] == ["c", "a", "b"]


@pytest.mark.usefixtures("clock")
def test_lines_are_shown_as_they_were_written_and_certificates_as_yes_or_no() -> None:
    old = {"time": "2025-12-31T23:59:59Z", "who": "clinic", "certificate": "AB", "n": 7}
    tally = Tally([old])
    tally.take(Entry("start", detail="node bob"))
    tally.take(asked("fetch", object="an update", bytes_out=9, detail="told"))
    empty = dict.fromkeys(("who", "address", "what", "object", "decision", "detail"), "")
    assert list(tally.lines) == [
        {**empty, "time": old["time"], "who": "clinic", "bytes_out": "", "proved": True},
        {
            **empty,
            "time": at(0),
            "what": "start",
            "decision": "allowed",
            "detail": "node bob",
            "bytes_out": 0,
            "proved": False,
        },
        {
            "time": at(1),
            "who": "hospital",
            "address": "127.0.0.1:5",
            "what": "fetch",
            "object": "an update",
            "decision": "allowed",
            "detail": "told",
            "bytes_out": 9,
            "proved": True,
        },
    ]
    assert tally.taken == 2
    assert [row["who"] for row in tally.asked()] == ["hospital"]  # of its own lines none is


def rows_of(tally: Tally) -> dict[tuple[str, bool], dict[str, Any]]:
    return {(row["who"], row["is_proved"]): row for row in tally.asked()}


def test_two_hundred_lines_a_hundred_names_and_twenty_kinds_are_kept() -> None:
    tally = Tally({"what": f"old-{number}"} for number in range(500))
    assert [line["what"] for line in tally.lines] == [f"old-{number}" for number in range(300, 500)]
    for number in range(101):
        tally.take(asked(who=f"who-{number}"))
        tally.take(asked(who=f"who-{number}", certificate="", **by_rule(f"rule_{letters(number)}")))
    for number in range(22):
        tally.take(asked(f"kind-{number}", who="who-0"))
    assert len(tally.lines) == 200
    rows = rows_of(tally)
    assert len(rows) == 101
    assert rows["who-49", True]["answered"] == rows["who-49", False]["refused"] == 1
    others = rows["(others)", False]
    assert (others["answered"], others["refused"]) == (51, 51)
    # train was the first kind, then nineteen more of them
    kinds = rows["who-0", True]["kinds"]
    assert list(kinds) == ["train", *(f"kind-{number}" for number in range(19)), "(others)"]
    assert kinds["(others)"] == 3
    tally.take(asked("train", who="who-0"))
    assert rows_of(tally)["who-0", True]["kinds"]["train"] == 2
    refused = tally.refused()
    assert len(refused) == 101
    assert refused["(others)"]["times"] == 1
    tally.take(asked(who="who-0", **by_rule("rule_a")))
    tally.take(asked(who="who-0", **by_rule("rule_new")))
    assert (tally.refused()["rule_a"]["times"], tally.refused()["(others)"]["times"]) == (2, 2)


def letters(number: int) -> str:
    """A name of its own for each number, of letters alone."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


def test_a_coordinator_without_a_name_is_one_of_the_others_and_not_theirs() -> None:
    tally = Tally()
    tally.take(asked(who=""))
    tally.take(asked(who="", certificate=""))
    assert [(row["who"], row["is_proved"]) for row in tally.asked()] == [
        ("(others)", True),
        ("(others)", False),
    ]


def test_a_name_with_blanks_is_told_whole() -> None:
    tally = Tally()
    tally.take(asked(who="a name of words"))
    assert [row["who"] for row in tally.asked()] == ["a name of words"]
