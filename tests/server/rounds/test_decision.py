"""When a step of a round waits, for what, and when it is over: as a table, and as laws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.decision import (
    Finish,
    Hopeless,
    Lost,
    StepAt,
    WaitForParts,
    WaitForReturns,
    decide,
)

INF = math.inf


@pytest.mark.parametrize(
    ("step", "decision"),
    [
        # need, done, under way, away, now, deadline, short since, quorum wait
        (StepAt(2, 0, 3, 0, 0, INF), WaitForParts(INF)),
        (StepAt(2, 0, 3, 0, 0, 60), WaitForParts(60)),
        (StepAt(2, 3, 0, 0, 5, 60), Finish()),
        (StepAt(2, 2, 0, 1, 5, 60), Finish()),  # nobody is waited for who is away
        (StepAt(2, 2, 1, 0, 59.9, 60), WaitForParts(60)),  # enough, and time for the third
        (StepAt(2, 2, 1, 0, 60, 60), Finish()),  # late
        (StepAt(2, 1, 1, 0, 60, 60, quorum_wait=30), WaitForParts(90)),  # late, and needed
        (StepAt(2, 1, 1, 0, 90, 60, quorum_wait=30), Lost()),
        (StepAt(2, 1, 0, 1, 10, 60, quorum_wait=30), WaitForReturns(40)),
        (StepAt(2, 1, 0, 1, 25, 60, 10, quorum_wait=30), WaitForReturns(40)),
        (StepAt(2, 1, 0, 1, 40, 60, 10, quorum_wait=30), Lost()),
        (StepAt(2, 1, 1, 1, 45, 60, 10, quorum_wait=30), WaitForParts(60)),  # one began again
        (StepAt(2, 1, 0, 1, 10, 60, quorum_wait=0), Lost()),  # 0 waits for nobody
        (StepAt(2, 1, 0, 0, 10, 60, quorum_wait=30), Hopeless()),
        (StepAt(3, 1, 1, 0, 10, 60, quorum_wait=30), Hopeless()),  # not worth waiting for one
    ],
)
def test_a_step_decides_by_what_has_come_and_the_time(step: StepAt, decision: object) -> None:
    assert decide(step) == decision


counts = st.integers(0, 6)
times = st.floats(0, 1000)
steps = st.builds(
    StepAt,
    need=st.integers(1, 6),
    done=counts,
    under_way=counts,
    away=counts,
    now=times,
    deadline=st.one_of(times, st.just(INF)),
    short_since=st.one_of(times, st.none()),
    quorum_wait=times,
)


@given(steps)
def test_it_is_over_only_with_enough_and_never_waits_longer_than_it_may(step: StepAt) -> None:
    decision = decide(step)
    if isinstance(decision, Finish):
        assert step.done >= step.need
    if isinstance(decision, Hopeless):
        assert step.done + step.under_way + step.away < step.need
    if isinstance(decision, WaitForParts):
        assert step.under_way
        assert step.now < decision.until <= step.deadline + step.quorum_wait
    if isinstance(decision, WaitForReturns):
        assert step.done < step.need
        assert step.now < decision.until
    if isinstance(decision, Lost):
        assert step.done < step.need


@given(steps)
def test_one_more_that_is_done_never_keeps_a_step_from_its_end(step: StepAt) -> None:
    if isinstance(decide(step), Finish):
        assert decide(replace(step, done=step.done + 1)) == Finish()
        assert decide(replace(step, under_way=0)) == Finish()
        assert decide(replace(step, now=step.now + 1)) == Finish()


@given(steps)
def test_every_wait_comes_to_an_end_where_nothing_more_happens(step: StepAt) -> None:
    """With the clock at the end of each wait, some decisions later there is none left."""
    step = replace(step, deadline=min(step.deadline, 2000.0))
    for _ in range(4):
        decision = decide(step)
        if isinstance(decision, Finish | Hopeless | Lost):
            return
        if isinstance(decision, WaitForReturns) and step.short_since is None:
            step = replace(step, short_since=step.now)
        step = replace(step, now=decision.until)
    raise AssertionError(f"it still waits: {step}")
