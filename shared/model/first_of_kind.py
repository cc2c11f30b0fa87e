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


class Sorted(NamedTuple):
    """Keys in rising order, equal ones by their place.

    places: where each stood, (n,). starts: whether it is the first of its kind, (n,).
    """

    places: Places
    starts: Flags


def sorted_by_kind(keys: Keys, places: Places) -> Sorted:
    """Keys (n,) with their places (n,), which are all different and not below 0.

    Raises:
        ValueError: keys and places do not fit 64 bits together.
    """
    if not len(keys):
        return Sorted(places, np.zeros(0, bool))
    bits = int(places.max()).bit_length()
    if int(keys.max()).bit_length() + bits > 64:
        raise ValueError("keys and their places do not fit 64 bits together")
    both = (keys << np.uint64(bits)) | places.astype(np.uint64)
    both.sort()
    kinds = both >> np.uint64(bits)
    starts = np.empty(len(keys), bool)
    starts[0] = True
    np.not_equal(kinds[1:], kinds[:-1], out=starts[1:])
    return Sorted((both & np.uint64((1 << bits) - 1)).astype(np.intp), starts)


def first_of_kind(keys: Keys) -> Flags:
    """Whether each key is the first that is equal to it, (n,); raises ValueError likewise."""
    found = sorted_by_kind(keys, np.arange(len(keys)))
    first = np.zeros(len(keys), bool)
    first[found.places[found.starts]] = True
    return first
