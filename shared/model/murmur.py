"""MurmurHash3 of many short strings at once, by numpy over the bytes that they all lie in.

The 32-bit x86 variant, as the package mmh3 has it for one string (Austin Appleby, SMHasher,
MurmurHash3.cpp, in the public domain).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Places = npt.NDArray[np.intp]


class Hashes(NamedTuple):
    """Hashes of what several texts hold, text by text: numbers (texts,) of them, hashes (n,)."""

    numbers: Places
    hashes: Words


_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
_N = np.uint32(0xE6546B64)
_F1, _F2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_MASKS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)


def words_at(data: bytes) -> Words:
    """The four bytes from each place on as one little-endian number, (len(data),).

    Behind the end there are zeros.
    """
    one = np.frombuffer(data + bytes(3), np.uint8).astype(np.uint32)
    pair = one[:-1] | (one[1:] << np.uint32(8))
    four: Words = pair[:-2] | (pair[2:] << np.uint32(16))
    return four


def hashes_of_one_length(words: Words, length: int, seed: int) -> Words:
    """The hash of `length` bytes, 1 to 7, from each place on, (len(words),).

    Places less than `length` before the end are hashed as if zeros came behind it.

    Args:
        words: what `words_at` gives.
    """
    if length < 4:
        return _finished(_scrambled(words & _MASKS[length]) ^ np.uint32(seed), length)
    mixed = _mixed(np.uint32(seed), _scrambled(words))
    if length > 4:
        behind = np.zeros_like(words)
        behind[:-4] = words[4:] & _MASKS[length - 4]
        mixed ^= _scrambled(behind)
    return _finished(mixed, length)


def hashes(words: Words, starts: Places, lengths: Places, seed: int) -> Words:
    """The hash of the bytes from each start on, (len(starts),).

    Args:
        words: what `words_at` gives.
        lengths: in bytes, 0 or more, (len(starts),); none reaches behind the end.
    """
    found = np.full(len(starts), seed, np.uint32)
    blocks = lengths >> 2
    longer = np.flatnonzero(blocks)
    block = 0
    while len(longer):
        there = words[starts[longer] + 4 * block]
        found[longer] = _mixed(found[longer], _scrambled(there))
        block += 1
        longer = longer[blocks[longer] > block]
    last = len(words) - 1
    tail = words[np.minimum(starts + 4 * blocks, last)] & _MASKS[lengths & 3]
    found ^= _scrambled(tail)
    return _finished(found, lengths.astype(np.uint32))


def _scrambled(words: Words) -> Words:
    words = words * _C1
    words = (words << np.uint32(15)) | (words >> np.uint32(17))
    words *= _C2
    return words


def _mixed(found: Words | np.uint32, scrambled: Words) -> Words:
    scrambled ^= found
    mixed: Words = (scrambled << np.uint32(13)) | (scrambled >> np.uint32(19))
    mixed *= np.uint32(5)
    mixed += _N
    return mixed


def _finished(found: Words, length: int | Words) -> Words:
    found ^= np.uint32(length) if isinstance(length, int) else length
    found ^= found >> np.uint32(16)
    found *= _F1
    found ^= found >> np.uint32(13)
    found *= _F2
    found ^= found >> np.uint32(16)
    return found
