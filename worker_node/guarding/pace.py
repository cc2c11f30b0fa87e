"""Pace: how many requests of one coordinator a node answers, at once and a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from shared.wire.token_buckets import TokenBuckets

BURST = 2000.0
RATE = 200.0


class Pace:
    """How fast one coordinator's requests are answered, over all of its connections.

    Each request is a line in the owner's log, and work: whoever sends them without end waits, and
    so fills neither the disk nor the node's time. A run asks some six times a round, and
    twice that with secure sums.

    Args: burst, rate: requests of one coordinator at once, and a second after these.
    """

    def __init__(
        self,
        burst: float = BURST,
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buckets = TokenBuckets(burst, rate)
        self._clock = clock

    def wait(self, coordinator: str) -> float:
        """Seconds until the coordinator's next request may be answered; 0 mostly."""
        now = self._clock()
        return self._buckets.of(coordinator, now).owe(now)
