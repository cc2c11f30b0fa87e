"""What a step of a round does next: a function of where it stands and of the time, nothing else.

The step is over when everybody has done it or failed, or at its deadline, provided that enough
have done it. With fewer it goes on: it waits for late nodes up to `quorum_wait` beyond the
deadline, and for nodes that lost their connection as long as that from the moment on when nobody
was left at work. Sockets, tasks and clocks are in server/rounds/step.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepState:
    """Where a step stands. Times are seconds of one clock, of whatever beginning.

    need: nodes that must do it. done: nodes that have.
    at_work: nodes whose part goes on.
    away: nodes without a connection, or not asked for a while, that may yet do their part.
    back: of these, the ones that can begin again now.
    deadline: from when on it waits for no more than it needs; infinity sets none.
    quorum_wait: seconds, as above.
    short_since: when nobody was left at work for the first time; None as long as that never was.
    """

    need: int
    done: int
    at_work: int
    away: int
    back: int
    deadline: float
    quorum_wait: float
    short_since: float | None = None


@dataclass(frozen=True)
class Finish:
    """Enough have done it; who is still at work is late."""


@dataclass(frozen=True)
class AwaitParts:
    """Wait until a part ends, and no longer than `until`; infinity sets no limit."""

    until: float


@dataclass(frozen=True)
class AwaitReturns:
    """Nobody is at work: wait until a node comes back, and no longer than `until`."""

    until: float


@dataclass(frozen=True)
class BeginAgain:
    """Nobody is at work: those that are back begin their part again."""


@dataclass(frozen=True)
class WaitedInVain:
    """Too few did it in all the time that there was."""


@dataclass(frozen=True)
class Hopeless:
    """Too few can do it, however long the step waits."""


Decision = Finish | AwaitParts | AwaitReturns | BeginAgain | WaitedInVain | Hopeless


def decide(step: StepState, now: float) -> Decision:
    """What to do now; to be asked again after each thing that happened, and at `until`."""
    enough = step.done >= step.need
    if enough and (not step.at_work or now >= step.deadline):
        return Finish()
    if step.done + step.at_work + step.away < step.need:
        return Hopeless()
    last = step.deadline + step.quorum_wait  # with enough it ended at the deadline
    if step.at_work and now < last:
        return AwaitParts(until=step.deadline if now < step.deadline else last)
    short_since = now if step.short_since is None else step.short_since
    until = min(short_since + step.quorum_wait, last)
    if now >= until:  # as it is where somebody is at work still
        return WaitedInVain()
    return BeginAgain() if step.back else AwaitReturns(until)
