"""Numbers for secret sharing: uniform, and of the operating system's generator alone."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WORD = 2**64
BITS = 64
"""Of a number of the ring that shares live in, the integers modulo 2**64."""


def uniform(shape: Sequence[int], low: int, high: int) -> npt.NDArray[np.int64]:
    """Independent numbers of `low` to `high`, both among them, each as likely as another.

    Raises:
        ValueError: high is below low, or one of them is no int64.
    """
    if not -(2**63) <= low <= high < 2**63:
        raise ValueError(f"there are no int64 numbers from {low} to {high}")
    span, count = high - low + 1, math.prod(shape)
    if span == _WORD:
        return _words(count).view(np.int64).reshape(shape)
    # what lies above the last whole multiple of the span would make some numbers likelier
    last = _WORD - _WORD % span - 1
    found = _words(count)
    while (beyond := np.flatnonzero(found > np.uint64(last))).size:
        found[beyond] = _words(beyond.size)
    offset = (found % np.uint64(span)).view(np.int64)
    # an offset of 2**63 or more is a negative int64, and two's complement adds it all the same
    with np.errstate(over="ignore"):
        return (offset + np.int64(low)).reshape(shape)


def _words(count: int) -> npt.NDArray[np.uint64]:
    return np.frombuffer(bytearray(secrets.token_bytes(8 * count)), np.uint64)


def bits(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of numbers (...) their bits in two's complement (..., BITS), the lowest first."""
    places = np.arange(BITS, dtype=np.uint64)
    return ((numbers[..., None].view(np.uint64) >> places) & np.uint64(1)).view(np.int64)
