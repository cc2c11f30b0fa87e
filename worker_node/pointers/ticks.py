"""When the answer of a session that counts what it tells leaves: at one of eight moments.

How long an operation takes can follow from the rows. An answer that leaves when it is done tells
the time to the microsecond; one that waits for the next of eight moments tells three bits, which
are paid with it. Each moment is three times as late as the one before, so an answer takes up to
three times as long as it would. (Askarov, Zhang, Myers: Predictive black-box mitigation of timing
channels, 2010, has the idea of rising intervals.)
"""

from __future__ import annotations

MOMENTS = 8
_RATIO = 3.0
_LATEST = 1.25
"""Of the time that a frame of commands may take: ending a process takes some as well."""


def moment_after(seconds: float, most: float) -> float:
    """The first moment that is not before `seconds`, both counted from a frame's arrival.

    Args:
        most: seconds that a frame may take; what took even longer waits for twice, four times, ...
            the last moment.
    """
    moment = _LATEST * most / _RATIO ** (MOMENTS - 1)
    for _ in range(MOMENTS - 1):
        if seconds <= moment:
            return moment
        moment *= _RATIO
    while seconds > moment:
        moment *= 2
    return moment
