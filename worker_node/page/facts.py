"""What the owner's page shows of a node: numbers, texts, lists and tables, and no row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from worker_node.guarding.budget import spent, told_to
from worker_node.guarding.day_counts import Counted
from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
from worker_node.node import DataOwnerNode
from worker_node.privacy.accounts import Accounts, Part

MAX_RUNS = 50
"""Runs with noise that are shown, the newest."""
_PARTS: Mapping[Part, str] = {"training": "training", "held_out": "held-out"}
_COUNTED: Mapping[Counted, str] = {
    "rounds": "trainings",
    "evaluations": "evaluations",
    "comparisons": "comparisons",
    "models": "models that were kept",
    "numbers": "pointer mode's numbers",
}


@dataclass(frozen=True)
class Described:
    """What stays the same while a node serves, in words for its owner."""

    policy: str
    audit_log: str
    coordinators: str


async def facts_of(node: DataOwnerNode, described: Described) -> dict[str, Any]:
    """All but what a Tally and a LogCheck know."""
    guard = node.guard
    return {
        "node": str(node.id),
        "rows": {"train": len(node.shard.train), "held_out": len(node.shard.held_out)},
        "busy": node.busy_with,
        "paused_since": _stamp(guard.pause.since) if guard.pause.since is not None else "",
        "described": asdict(described),
        "questions": [
            {
                "number": one.number,
                "question": one.question,
                "asked": _stamp(one.asked),
                "until": _stamp(one.until),
            }
            for one in guard.owner.waiting
        ],
        "today": [[_COUNTED[what], done, most] for what, (done, most) in guard.today().items()],
        "budget": await guard.releases.look(
            lambda accounts: budget_of(accounts, guard.policy.differential_privacy)
        ),
    }


def budget_of(accounts: Accounts, terms: DifferentialPrivacyTerms) -> dict[str, Any]:
    """Of all that was told with noise."""
    parts = {words: asdict(spent(accounts, part, terms)) for part, words in _PARTS.items()}
    newest = list(accounts.runs.items())[-MAX_RUNS:]
    return {
        "is_on": terms.is_on,
        "delta": terms.delta,
        "parts": {words: _finite(one) for words, one in parts.items()},
        "runs": [_finite(asdict(told_to(run, found, terms.delta))) for run, found in newest],
    }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no other numbers."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
