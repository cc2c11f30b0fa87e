"""What a round's step does next: a function of what has come and of the time, and of nothing else.

A step is over when everybody has done their part or failed, or at its deadline, provided that
enough have done it. With fewer it goes on: late nodes, and nodes that lost their connection, are
waited for, up to a limit. Sockets, tasks and clocks are server/rounds/step.py's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class StepAt:
    """A step at a moment. Times are seconds of one clock; inf is never.

    need: nodes that must do their part. done: that have done it.
    under_way: parts that go on. away: nodes without one that may still come back to theirs.
    deadline: after which no more than `need` are waited for.
    short_since: when it first had too few and nothing under way; None as long as it never had.
    quorum_wait: seconds that it waits with too few, after `short_since` and after the deadline.
    """

    need: int
    done: int
    under_way: int
    away: int
    now: float
    deadline: float = math.inf
    short_since: float | None = None
    quorum_wait: float = 0.0


@dataclass(frozen=True)
class Finish:
    """Enough have done it; what is still under way is late."""


@dataclass(frozen=True)
class WaitForParts:
    """Until a part ends, or until then; inf sets no limit."""

    until: float


@dataclass(frozen=True)
class WaitForReturns:
    """Until a node is back, or until then; whoever is there begins its part."""

    until: float


@dataclass(frozen=True)
class Hopeless:
    """However long it waited, too few could do it."""


@dataclass(frozen=True)
class Lost:
    """It has waited with too few for as long as it may."""


Decision = Finish | WaitForParts | WaitForReturns | Hopeless | Lost


def decide(step: StepAt) -> Decision:
    """What the step does next."""
    enough = step.done >= step.need
    if enough and (not step.under_way or step.now >= step.deadline):
        return Finish()
    if step.done + step.under_way + step.away < step.need:
        return Hopeless()
    last = step.deadline if enough else step.deadline + step.quorum_wait
    if step.under_way and step.now < last:
        return WaitForParts(step.deadline if step.now < step.deadline else last)
    since = step.now if step.short_since is None else step.short_since
    until = since + step.quorum_wait
    if step.now >= until or step.now >= last:
        return Lost()
    return WaitForReturns(until)
