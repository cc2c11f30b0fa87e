"""When a coordinator that stays begins a run of its own accord."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal

from shared.errors import UsageError

When = Literal["min_nodes"]
Verdict = Literal["begin", "wait", "skip"]


@dataclass(frozen=True)
class Schedule:
    """at: times of the day, of this machine; none for at no time of its own.

    when: "min_nodes" begins as soon as there are as many nodes as a run needs: with `at`, from
        that time on; without it, whenever one of them has come since the last run. None begins
        `at` its time, or not that day.
    """

    at: tuple[time, ...] = ()
    when: When | None = None

    def next_time(self, now: datetime) -> datetime | None:
        """The first of its times after `now`; None where it has none."""
        days = (now.date() + timedelta(days=number) for number in (0, 1))
        times = [datetime.combine(day, one) for day in days for one in self.at]
        return min((one for one in times if one > now), default=None)

    def decide(
        self, is_time: bool, here: frozenset[str], last: frozenset[str], is_enough: bool
    ) -> Verdict:
        """What to do now.

        Args:
            is_time: one of its times has come, and no run began since.
            here: the nodes that a run could have. last: those that the last one had.
            is_enough: a run could begin with them.
        """
        if self.at and not is_time:
            return "wait"
        if is_enough and (self.at or (self.when and here - last)):
            return "begin"
        return "wait" if self.when or not self.at else "skip"

    def __str__(self) -> str:
        times = ", ".join(f"{one:%H:%M}" for one in self.at)
        enough = "as soon as enough nodes are here" if self.when else ""
        if times and enough:
            return f"at {times}, {enough}"
        return f"at {times}" if times else enough


def parse_schedule(at: Sequence[str], when: str | None) -> Schedule:
    """Raises UsageError for what is no time of the day, such as "24:00"."""
    if when not in (None, "min_nodes"):
        raise UsageError(f"{when!r} is no `when`", next_step='Write when = "min_nodes".')
    return Schedule(tuple(sorted({_time_of(one) for one in at})), "min_nodes" if when else None)


def _time_of(text: str) -> time:
    if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text) is None:
        raise UsageError(f"{text!r} is no time of the day", next_step="Write it as 02:00 or 23:30.")
    return time.fromisoformat(text)
