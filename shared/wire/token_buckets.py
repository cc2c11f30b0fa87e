"""Token buckets: how often somebody may do something, at once and a second.

A token bucket (Turner, New Directions in Communications, IEEE Communications Magazine 1986) holds
up to `burst` tokens and gains `rate` a second; whatever is limited takes one. Time is the caller's:
nothing here looks at a clock or waits.
"""

from __future__ import annotations

from collections import OrderedDict

REMEMBERED = 1024
"""Peers whose buckets are kept, the latest of them; one that is forgotten has a full bucket."""


class TokenBucket:
    """One peer's bucket.

    Args:
        burst: tokens that it holds at most, and begins with.
        rate: tokens that it gains a second.
        now: seconds, of any clock that never runs back.
    """

    def __init__(self, burst: float, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> bool:
        """Takes a token where there is one; False, and nothing taken, where there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def owe(self, now: float) -> float:
        """Takes a token in any case, and gives the seconds until it is earned; 0 mostly."""
        self._fill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def _fill(self, now: float) -> None:
        gained = max(0.0, now - self._at) * self._rate
        self._tokens = min(self._burst, self._tokens + gained)
        self._at = max(self._at, now)


class TokenBuckets:
    """A bucket for each peer, by name; as many as are remembered."""

    def __init__(self, burst: float, rate: float, remembered: int = REMEMBERED) -> None:
        self._burst = burst
        self._rate = rate
        self._remembered = remembered
        self._of: OrderedDict[str, TokenBucket] = OrderedDict()

    def of(self, peer: str, now: float) -> TokenBucket:
        bucket = self._of.pop(peer, None) or TokenBucket(self._burst, self._rate, now)
        self._of[peer] = bucket
        if len(self._of) > self._remembered:
            self._of.popitem(last=False)
        return bucket
