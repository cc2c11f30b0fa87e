"""What a step of a round does next, as a table and as laws over drawn states and times."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.decision import (
    AwaitParts,
    AwaitReturns,
    BeginAgain,
    Decision,
    Finish,
    Hopeless,
    StepState,
    WaitedInVain,
    decide,
)

NEVER = float("inf")


def state(
    done: int = 0,
    at_work: int = 0,
    away: int = 0,
    back: int = 0,
    deadline: float = 100.0,
    short_since: float | None = None,
) -> StepState:
    """Of a step that needs 2 nodes and waits 30 s for a quorum."""
    return StepState(2, done, at_work, away, back, deadline, 30.0, short_since)


TABLE: dict[str, tuple[StepState, float, Decision]] = {
    "everybody is at work": (state(at_work=3), 5, AwaitParts(100)),
    "no deadline": (state(at_work=3, deadline=NEVER), 5, AwaitParts(NEVER)),
    "enough are done, one is at work": (state(done=2, at_work=1), 5, AwaitParts(100)),
    "enough are done, and nobody is at work": (state(done=2), 5, Finish()),
    "enough are done, one is away": (state(done=2, away=1), 5, Finish()),
    "enough are done, one is late": (state(done=2, at_work=1), 100, Finish()),
    "too few are done, one is late": (state(done=1, at_work=1), 100, AwaitParts(130)),
    "too few are done, one is much too late": (
        state(done=1, at_work=1),
        130,
        WaitedInVain(),
    ),
    "one failed for good": (state(done=1), 5, Hopeless()),
    "one failed for good while the other works": (state(at_work=1), 5, Hopeless()),
    "one lost its connection while the other works": (
        state(at_work=1, away=1),
        5,
        AwaitParts(100),
    ),
    "one is back while the other works": (
        state(at_work=1, away=1, back=1),
        5,
        AwaitParts(100),
    ),
    "one is away, and nobody is at work": (state(done=1, away=1), 5, AwaitReturns(35)),
    "it is away still": (state(done=1, away=1, short_since=5), 20, AwaitReturns(35)),
    "it is back": (state(done=1, away=1, back=1, short_since=5), 20, BeginAgain()),
    "it stayed away": (state(done=1, away=1, short_since=5), 35, WaitedInVain()),
    "it is back too late": (
        state(done=1, away=1, back=1, short_since=5),
        35,
        WaitedInVain(),
    ),
    "it is away a second time": (state(done=1, away=1, short_since=5), 34, AwaitReturns(35)),
    "away beyond the deadline": (state(done=1, away=1), 110, AwaitReturns(130)),
    "away without a deadline": (
        state(done=1, away=1, deadline=NEVER),
        500,
        AwaitReturns(530),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_a_step_does_next(name: str) -> None:
    step, now, expected = TABLE[name]
    assert decide(step, now) == expected


times = st.floats(0, 1000)


@st.composite
def states(draw: st.DrawFn) -> StepState:
    away = draw(st.integers(0, 4))
    return StepState(
        need=draw(st.integers(1, 5)),
        done=draw(st.integers(0, 5)),
        at_work=draw(st.integers(0, 4)),
        away=away,
        back=draw(st.integers(0, away)),
        deadline=draw(times | st.just(NEVER)),
        quorum_wait=draw(times),
        short_since=draw(st.none() | times),
    )


@given(states(), times)
def test_a_step_ends_well_only_with_as_many_as_it_needs(step: StepState, now: float) -> None:
    assert not isinstance(decide(step, now), Finish) or step.done >= step.need


@given(states(), times)
def test_a_step_with_enough_never_fails(step: StepState, now: float) -> None:
    failed = isinstance(decide(step, now), WaitedInVain | Hopeless)
    assert not failed or step.done < step.need


@given(states(), times)
def test_no_wait_goes_beyond_the_deadline_or_for_a_quorum_beyond_its_wait(
    step: StepState, now: float
) -> None:
    decision = decide(step, now)
    if isinstance(decision, AwaitParts | AwaitReturns):
        extra = step.quorum_wait if step.done < step.need else 0.0
        assert now < decision.until <= step.deadline + extra
    if isinstance(decision, AwaitParts) and now < step.deadline:
        assert decision.until == step.deadline


@given(states(), times)
def test_each_wait_is_for_somebody(step: StepState, now: float) -> None:
    decision = decide(step, now)
    if isinstance(decision, AwaitParts):
        assert step.at_work
    if isinstance(decision, AwaitReturns):
        assert (step.away > 0, step.back, step.at_work) == (True, 0, 0)
    if isinstance(decision, BeginAgain):
        assert (step.back > 0, step.at_work) == (True, 0)


@given(states(), times)
def test_what_is_waited_for_to_the_end_is_decided_there(step: StepState, now: float) -> None:
    """No wait of no length: at `until` the same state gives something else to do."""
    decision = decide(step, now)
    if isinstance(decision, AwaitParts | AwaitReturns) and decision.until < NEVER:
        started = now if step.short_since is None else step.short_since
        waited = replace(step, short_since=started) if isinstance(decision, AwaitReturns) else step
        assert decide(waited, decision.until) != decision


@given(states(), times, st.integers(1, 5))
def test_more_that_are_done_never_turn_an_end_into_a_wait(
    step: StepState, now: float, more: int
) -> None:
    if isinstance(decide(step, now), Finish):
        assert isinstance(decide(replace(step, done=step.done + more), now), Finish)


@given(states(), times, times)
def test_time_alone_never_turns_an_end_into_a_wait(
    step: StepState, now: float, passed: float
) -> None:
    decision = decide(step, now)
    if isinstance(decision, Finish | Hopeless | WaitedInVain):
        remembered = step
        if isinstance(decision, WaitedInVain) and step.short_since is None:
            remembered = replace(step, short_since=now)
        assert decide(remembered, now + passed) == decision


@given(states(), times)
def test_one_more_part_that_succeeds_brings_the_end_no_further_away(
    step: StepState, now: float
) -> None:
    """A node at work that becomes one that is done: no failure comes of it, and no longer wait."""
    if step.at_work:
        before = decide(step, now)
        after = decide(replace(step, at_work=step.at_work - 1, done=step.done + 1), now)
        if isinstance(before, AwaitParts):
            assert not isinstance(after, Hopeless)
            if isinstance(after, AwaitParts):
                assert after.until <= before.until
