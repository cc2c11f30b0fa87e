"""How fast one coordinator's requests are answered, over all of its connections.

Each request is a line in the owner's log, and work: whoever sends them without end waits, and so
fills neither the disk nor the node's time. A run asks some six times a round.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 2000.0
RATE = 200.0
_REMEMBERED = 1024


class Pace:
    """Args: burst, rate: requests of one coordinator at once, and a second after these."""

    def __init__(
        self,
        burst: float = BURST,
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, coordinator: str) -> float:
        """Seconds until the coordinator's next request may be answered; 0 mostly."""
        now = self._clock()
        left, before = self._left.pop(coordinator, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._rate) - 1
        self._left[coordinator] = left, now
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return max(0.0, -left / self._rate)
