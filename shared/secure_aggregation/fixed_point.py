"""The grid that weighted numbers are summed on, with secure aggregation and without.

A number times its rows is rounded to a multiple of 2^-36, to even where it lies between two. Such
multiples are integers, so their sum is exact, has no order, and is the same whether it is made
from the numbers themselves or modulo 2^64 from masked ones. Both ways then read the mean by one
function of that integer, so both leave the same bits.

The rounding moves a mean by 2^-37 at most. A trained state has numbers of 24 bits: those above
2^-13 are on the grid already.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

FRACTION_BITS = 36
PIECE_BITS = 45
"""Bits of an accumulator's place; leaves 17 of an int64, so 131,072 states can be added."""
PIECES = 3
"""Places of a sum; the highest begins at 2^54, and weighted numbers are below 2^63."""
MAX_ROWS = 2**29 - 1
"""The largest weight: products with a float32, of 24 bits, are exact in a double."""
REACH_BITS = 20
"""A reach of 1 stands for 2^20 of the grid's units."""
_LARGEST = 2**62
"""A sum in units must stay below it, so that nothing wraps modulo 2^64."""

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Ring = npt.NDArray[np.uint64]
"""Numbers modulo 2^64."""


def unit_of(piece: int) -> float:
    """What 1 in an accumulator's place stands for; 0 is the lowest place."""
    return 2.0 ** (piece * PIECE_BITS - FRACTION_BITS)


def encode(state: Floats, rows: int) -> Ring:
    """A state (P,) times its rows, in the grid's units modulo 2^64, (P,).

    Raises:
        ValueError: the rows are none, or a number is not finite or too large for the ring.
    """
    if not 0 < rows <= MAX_ROWS:
        raise ValueError(f"a result has {rows} rows")
    scaled = state.astype(np.float64)
    scaled *= rows * 2.0**FRACTION_BITS  # exact: 24 bits times 29, and a power of two
    np.rint(scaled, out=scaled)
    if not max(scaled.max(initial=0), -scaled.min(initial=0)) < _LARGEST:  # also where it is NaN
        most = 2.0 ** (62 - FRACTION_BITS)
        raise ValueError(f"numbers times rows are not finite, or reach {most:g}")
    return scaled.astype(np.int64).view(np.uint64)


def reach_of(encoded: Ring) -> int:
    """A bound on the size of the encoded numbers (P,), in units of 2^REACH_BITS.

    The reaches of all owners are summed with their numbers: so it is seen whether a sum can have
    wrapped, without a word of who holds how much.
    """
    signed = encoded.view(np.int64)
    largest = max(int(signed.max(initial=0)), -int(signed.min(initial=0)))
    return (largest >> REACH_BITS) + 1


def decode(total: Ring, reach: int) -> Integers:
    """A sum (P,) modulo 2^64 as the integers that it stands for, sharing its memory.

    Args:
        reach: the sum of the owners' reaches.

    Raises:
        ValueError: the sum may have wrapped.
    """
    if not 0 <= reach < _LARGEST >> REACH_BITS:
        most = 2.0 ** (62 - FRACTION_BITS)
        raise ValueError(f"the largest numbers times all rows may reach {most:g}")
    return total.view(np.int64)


def mean(pieces: Mapping[int, Integers], size: int, weight: int) -> Floats:
    """The mean (P,) of what was summed, a function of the sum's integer and the weight alone.

    Args:
        pieces: accumulators (P,) by place, below 2^62 each way; places that are not there are 0.
        size: P.
        weight: what the numbers were multiplied with, in total.
    """
    # Digits from -2^44 to 2^44 of the whole sum: unlike the accumulators, they do not tell of
    # what the sum was made, and they do not cancel as those of a floored number would.
    total, carry = np.zeros(size, np.float64), np.zeros(size, np.int64)
    for number in range(PIECES):
        place = carry + pieces[number] if number in pieces else carry
        carry = np.zeros(size, np.int64)
        if number < PIECES - 1:
            carry = (place + 2 ** (PIECE_BITS - 1)) >> PIECE_BITS
            place = place - (carry << PIECE_BITS)
        total += place * unit_of(number)
    return (total / weight).astype(np.float32)
