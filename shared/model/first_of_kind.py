"""Which of many numbers stand there for the first time, by sorting them with their places.

A number's place is kept in its low bits, so that one sort of plain numbers, which numpy does many
at once, tells both which are equal and which of them is first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


class Repeated(NamedTuple):
    """Of keys that more than one place has, by key and place.

    places: which have one, (n,). kinds: keys numbered from 1 on, (n,). again: whether another place
    with the same key comes before, (n,).
    """

    places: Places
    kinds: Keys
    again: Flags


def repeated(keys: Keys, places: Places) -> Repeated:
    """Those of keys (n,) that stand at two places or more of (n,), all different, not below 0.

    Raises:
        ValueError: keys and places do not fit 64 bits together.
    """
    both, bits = _sorted(keys, places)
    again = _as_before(both, bits)
    kept = again.copy()
    kept[:-1] |= again[1:]
    index = np.flatnonzero(kept)  # twice as fast as flags are
    both, again = both.take(index), again.take(index)
    return Repeated(_places(both, bits), np.cumsum(~again).view(np.uint64), again)


def first_of_kind(keys: Keys) -> Flags:
    """Whether each key is the first that is equal to it, (n,); raises ValueError likewise."""
    both, bits = _sorted(keys, np.arange(len(keys)))
    first = np.ones(len(keys), bool)
    first[_places(both[_as_before(both, bits)], bits)] = False
    return first


def _sorted(keys: Keys, places: Places) -> tuple[Keys, int]:
    """Keys and places in one number, sorted, and how many of the low bits are of the place."""
    if not len(keys):
        return keys, 0
    bits = int(places.max()).bit_length()
    if int(keys.max()).bit_length() + bits > 64:
        raise ValueError("keys and their places do not fit 64 bits together")
    both = keys << np.uint64(bits)
    both |= places.view(np.uint64)
    both.sort()
    return both, bits


def _as_before(both: Keys, bits: int) -> Flags:
    """Whether each has the key of the one before it."""
    kinds = both >> np.uint64(bits)
    again = np.zeros(len(both), bool)
    np.equal(kinds[1:], kinds[:-1], out=again[1:])
    return again


def _places(both: Keys, bits: int) -> Places:
    places: Places = (both & np.uint64((1 << bits) - 1)).view(np.intp)
    return places
