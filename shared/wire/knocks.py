"""How often somebody dials who is to be let in some time: nobody need be there yet."""

from __future__ import annotations

import random
from collections.abc import Iterator

FIRST_KNOCK = 1.0
LONGEST_KNOCK = 60.0
"""Seconds: who listens has heard of everybody who knocks after so long."""


def knocks() -> Iterator[float]:
    """Seconds before each attempt, without end: doubled each time, up to LONGEST_KNOCK.

    Each is drawn between half and the whole of that, so that many who lost the same coordinator do
    not come back at the same moment.
    """
    longest = FIRST_KNOCK
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - nothing secret hangs on it
        longest = min(2 * longest, LONGEST_KNOCK)
