"""When a coordinator that stays begins a run by itself: as a table, and as laws."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.standing.schedule import Schedule, parse_schedule
from shared.errors import UsageError

day = datetime.fromisoformat  # of this machine, as its clock on the wall
NIGHT = time(2, 0)
ALWAYS, NONE, BOTH = Schedule(), frozenset[str](), frozenset({"anne", "bob"})


@pytest.mark.parametrize(
    ("schedule", "is_time", "here", "last", "is_enough", "verdict"),
    [
        (ALWAYS, False, BOTH, NONE, True, "wait"),
        (ALWAYS, True, BOTH, NONE, True, "wait"),
        (Schedule((NIGHT,)), False, BOTH, NONE, True, "wait"),
        (Schedule((NIGHT,)), True, BOTH, NONE, True, "begin"),
        (Schedule((NIGHT,)), True, BOTH, BOTH, True, "begin"),
        (Schedule((NIGHT,)), True, NONE, NONE, False, "skip"),
        (Schedule((), "min_nodes"), False, NONE, NONE, False, "wait"),
        (Schedule((), "min_nodes"), False, BOTH, NONE, True, "begin"),
        (Schedule((), "min_nodes"), False, BOTH, frozenset({"bob"}), True, "begin"),
        (Schedule((), "min_nodes"), False, BOTH, BOTH, True, "wait"),
        (Schedule((), "min_nodes"), False, frozenset({"bob"}), BOTH, True, "wait"),
        (Schedule((NIGHT,), "min_nodes"), False, BOTH, NONE, True, "wait"),
        (Schedule((NIGHT,), "min_nodes"), True, NONE, NONE, False, "wait"),
        (Schedule((NIGHT,), "min_nodes"), True, BOTH, BOTH, True, "begin"),
    ],
)
def test_what_is_done_now(
    schedule: Schedule,
    is_time: bool,
    here: frozenset[str],
    last: frozenset[str],
    is_enough: bool,
    verdict: str,
) -> None:
    assert schedule.decide(is_time, here, last, is_enough) == verdict


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (day("2026-11-27T01:59:59"), day("2026-11-27T02:00:00")),
        (day("2026-11-27T02:00:00"), day("2026-11-27T23:30:00")),
        (day("2026-11-27T23:30:00"), day("2026-11-28T02:00:00")),
        (day("2026-12-31T23:31:00"), day("2027-01-01T02:00:00")),
    ],
)
def test_the_next_time_is_the_first_after_now(now: datetime, expected: datetime) -> None:
    assert parse_schedule(["23:30", "02:00"], None).next_time(now) == expected


@given(
    st.datetimes(max_value=day("9000-01-01")),
    st.lists(st.times().map(lambda one: f"{one:%H:%M}"), min_size=1, max_size=4),
)
def test_some_time_comes_within_a_day_and_is_one_of_those_that_were_named(
    now: datetime, at: list[str]
) -> None:
    found = parse_schedule(at, None).next_time(now)
    assert found is not None
    assert timedelta(0) < found - now <= timedelta(days=1)
    assert f"{found:%H:%M}" in at


def test_without_times_none_comes() -> None:
    assert Schedule((), "min_nodes").next_time(day("2026-11-27T00:00:00")) is None


@pytest.mark.parametrize("at", ["24:00", "2:00", "02:60", "noon", "", "02:00:00", "٠٢:٠٠"])
def test_what_is_no_time_of_the_day_is_told(at: str) -> None:
    with pytest.raises(UsageError, match="no time of the day"):
        parse_schedule([at], None)


def test_a_schedule_says_what_it_is() -> None:
    assert str(ALWAYS) == ""
    assert str(parse_schedule(["02:00"], None)) == "at 02:00"
    assert str(parse_schedule([], "min_nodes")) == "as soon as enough nodes are here"
    assert str(parse_schedule(["23:30", "02:00"], "min_nodes")) == (
        "at 02:00, 23:30, as soon as enough nodes are here"
    )
    with pytest.raises(UsageError, match="no `when`"):
        parse_schedule([], "always")
