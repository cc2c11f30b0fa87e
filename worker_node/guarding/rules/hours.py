"""When a node works."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from worker_node.guarding.rules.table import Table

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _zone(name: str) -> str:
    if name != "local":
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError):
            raise ValueError("no time zone of that name is known here") from None
    return name


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError('no time of day; write it as "08:30", "00:00" to "24:00"')
    return text


Clock = Annotated[str, AfterValidator(_time_of_day)]
Zone = Annotated[str, AfterValidator(_zone)]


class Hours(Table):
    """When the node works; at other times it says who it is, and no more."""

    begin: Clock = Field("00:00", description="From this time of day ...")
    end: Clock = Field(
        "24:00", description="... to this one; before `begin`, it is the next day's."
    )
    days: tuple[Day, ...] = Field(DAYS, strict=False, description="Days on which it begins.")
    zone: Zone = Field("local", description='Of the clock: "local" or a name like "Europe/Vienna".')

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.begin == self.end:
            raise ValueError(
                f"begin and end are both {self.begin}, which may mean never or always; "
                'always is "00:00" to "24:00"'
            )
        return self

    def now(self) -> datetime:
        return datetime.now(None if self.zone == "local" else ZoneInfo(self.zone)).astimezone(
            None if self.zone == "local" else ZoneInfo(self.zone)
        )

    def contain(self, now: datetime) -> bool:
        """Args: now: local time, in the policy's zone."""
        begin, end = _minutes(self.begin), _minutes(self.end)
        minute = now.hour * 60 + now.minute
        today = DAYS[now.weekday()] in self.days
        if begin < end:
            return today and begin <= minute < end
        yesterday = DAYS[(now - timedelta(days=1)).weekday()] in self.days
        return (today and minute >= begin) or (yesterday and minute < end)

    def next_begin(self, now: datetime) -> datetime | None:
        """When it works next, after a moment at which it does not; None for never.

        Args:
            now: local time, in the policy's zone.
        """
        hour, minute = divmod(_minutes(self.begin), 60)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for days in range(8):  # the same day of the next week may be the first
            found = midnight + timedelta(days=days, hours=hour, minutes=minute)
            if found > now and self.contain(found):
                return found
        return None


def _minutes(clock: str) -> int:
    if clock == "24:00":
        return 24 * 60
    found = time.fromisoformat(clock)
    return found.hour * 60 + found.minute
