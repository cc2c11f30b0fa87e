"""Shamir's secret sharing over a prime field.

A secret is a polynomial's value at 0, a share its value at 1, 2, ...: as many shares as it has
coefficients give it back, and fewer tell nothing (Shamir, How to Share a Secret, Communications of
the ACM 1979).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

PRIME = 2**256 + 297
"""The smallest prime above 2^256: every secret of 32 bytes is a number of the field."""
SHARE_BYTES = 33


def split(secret: int, threshold: int, count: int, prime: int = PRIME) -> list[int]:
    """Shares of a secret at 1 to `count`, of which any `threshold` give it back.

    Raises:
        ValueError: the threshold is below 1 or above the count, or the secret is not in the field.
    """
    if not 1 <= threshold <= count < prime or not 0 <= secret < prime:
        raise ValueError("no such sharing")
    polynomial = [secret, *(secrets.randbelow(prime) for _ in range(threshold - 1))]
    return [evaluate(polynomial, place, prime) for place in range(1, count + 1)]


def evaluate(polynomial: Sequence[int], place: int, prime: int = PRIME) -> int:
    """A polynomial's value; its constant stands first."""
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * place + coefficient) % prime
    return value


def combine(shares: Mapping[int, int], prime: int = PRIME) -> int:
    """The value at 0 of the polynomial through the shares (Lagrange).

    Args:
        shares: by place, as many as the threshold.
    """
    weights = _weights(tuple(shares), prime)
    return sum(map(int.__mul__, weights, shares.values())) % prime


@lru_cache(maxsize=16)  # the same holders open all secrets of a round
def _weights(places: tuple[int, ...], prime: int) -> tuple[int, ...]:
    found = []
    for place in places:
        above = below = 1
        for other in places:
            if other != place:
                above = above * other % prime
                below = below * (other - place) % prime
        found.append(above * pow(below, -1, prime) % prime)
    return tuple(found)
