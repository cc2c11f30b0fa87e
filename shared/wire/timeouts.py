"""How long everything may take: one named number an operation, each with its off value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from shared.errors import UsageError


def _seconds(default: float, meaning: str, modes: tuple[str, ...] = ("rounds",)) -> Any:
    off = "" if "; 0" in meaning else "; 0: no limit"
    return field(default=default, metadata={"help": f"{meaning}{off}.", "modes": modes})


_BOTH = ("rounds", "pointers")


@dataclass(frozen=True)
class Timeouts:
    """Seconds; 0 sets no limit, except where a meaning below says otherwise.

    Durations are measured with a monotonic clock: setting the machine's clock changes none.

    Raises:
        UsageError: a number is negative or not finite.
    """

    connect_timeout: float = _seconds(10, "To open a connection, name look-up included", _BOTH)
    handshake_timeout: float = _seconds(10, "For the other side to say who it is", _BOTH)
    dial_in_wait: float = _seconds(
        300, "That a node that dials in is awaited; it tries once a minute at least", _BOTH
    )
    transfer_timeout: float = _seconds(120, "For a model to get to a node, or back", _BOTH)
    train_timeout: float = _seconds(0, "For a node to train in a round")
    evaluate_timeout: float = _seconds(600, "For a node to evaluate")
    heartbeat: float = _seconds(10, "Silence after which the other side counts as lost", _BOTH)
    round_deadline: float = _seconds(
        3600, "For the training of a round; nodes that are later are left out of it"
    )
    rejoin_window: float = _seconds(
        2, "That a round waits for a node whose connection broke; 0 leaves it out at once"
    )
    reconnect_limit: float = _seconds(3600, "That a lost node is dialled again and again")
    quorum_wait: float = _seconds(
        300, "That a round waits while it has too few nodes; 0 stops the run at once"
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{each.name} = {value} is no number of seconds")


DEFAULT_TIMEOUTS = Timeouts()


def limit(seconds: float) -> float | None:
    """A timeout as asyncio takes it: None where 0 sets no limit."""
    return seconds or None
