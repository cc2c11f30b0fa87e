"""What was asked of the node since it began, added up: by whom, and by the rule that refused.

Names and kinds of requests are what others call them, so there is a bound on how many are kept.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker_node.audit.lines import Entry

MAX_LINES = 200
"""Newest lines of the log that a page shows."""
MAX_NAMES = 100
"""Coordinators, and rules, that are told apart."""
MAX_KINDS = 20
"""Kinds of requests of one coordinator that are told apart."""
OTHERS = "(others)"
# Of a refusal, the first words are always the node's own.
_RULE = re.compile(
    r"(?:the owner's policy does not allow this|the owner's node takes no part in this"
    r"|the node's owner has paused it) \(rule ([a-z_.]{1,64})\)"
)
NO_RULE = "handshake"
"""Of who was not let in for what they are: their certificate, version or role."""


@dataclass
class _Asked:
    """Of one coordinator. kinds: how often it asked for what."""

    is_proved: bool
    kinds: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    refused: int = 0
    failed: int = 0
    bytes_out: int = 0
    last: str = ""


@dataclass
class _Refused:
    """By one rule: how often, and the newest."""

    times: int = 0
    who: str = ""
    what: str = ""
    last: str = ""


class Tally:
    """Of one node, since it began.

    Args:
        before: lines that the log had then, for `lines` alone.
    """

    def __init__(self, before: Iterable[Mapping[str, Any]] = ()) -> None:
        self.lines: deque[dict[str, Any]] = deque(map(_shown, before), maxlen=MAX_LINES)
        self.taken = 0
        self._asked: dict[str, _Asked] = {}
        self._refused: dict[str, _Refused] = {}

    def take(self, entry: Entry) -> None:
        """Adds a line that was written."""
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.lines.append(_shown({**vars(entry), "time": now}))
        self.taken += 1
        if not entry.address:  # the node's own
            return
        proved = bool(entry.certificate)
        key = f"{entry.who} {entry.certificate}"
        asked = self._asked.get(key)
        if asked is None:
            key = key if len(self._asked) < MAX_NAMES else OTHERS
            asked = self._asked.setdefault(key, _Asked(proved if key != OTHERS else False))
        asked.last = now
        if entry.decision == "began":  # another line tells how it ended, with all its bytes
            return
        known = entry.what in asked.kinds or len(asked.kinds) < MAX_KINDS
        asked.kinds[entry.what if known else OTHERS] += 1
        asked.answered += entry.decision == "allowed"
        asked.refused += entry.decision == "refused"
        asked.failed += entry.decision == "failed"
        asked.bytes_out += entry.bytes_out
        if entry.decision == "refused":
            self._refuse(entry, now)

    def _refuse(self, entry: Entry, now: str) -> None:
        named = _RULE.match(entry.detail)
        rule = named[1] if named else NO_RULE
        if rule not in self._refused and len(self._refused) >= MAX_NAMES:
            rule = OTHERS
        found = self._refused.setdefault(rule, _Refused())
        found.times += 1
        found.who, found.what, found.last = entry.who, entry.what, now

    def asked(self) -> list[dict[str, Any]]:
        """By coordinator, who asked last first."""
        rows = [
            {"who": key.rpartition(" ")[0] or OTHERS, **vars(one)}
            for key, one in self._asked.items()
        ]
        return sorted(rows, key=lambda row: str(row["last"]), reverse=True)

    def refused(self) -> dict[str, dict[str, Any]]:
        """By rule, the most frequent first."""
        found = sorted(self._refused.items(), key=lambda one: -one[1].times)
        return {rule: vars(one) for rule, one in found}


def _shown(line: Mapping[str, Any]) -> dict[str, Any]:
    names = ("time", "who", "address", "what", "object", "decision", "detail", "bytes_out")
    return {**{name: line.get(name, "") for name in names}, "proved": bool(line.get("certificate"))}
