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


def hashes_of_one_length(words: Words, starts: Places, length: int, seed: int) -> Words:
    """The hash of `length` bytes, 1 to 7, from each start on, (len(starts),).

    Args:
        words: what `words_at` gives.
        starts: at least `length` before the end.
    """
    there: Words = words[starts]
    if length < 4:
        there &= _MASKS[length]
        return _finished(_scrambled(there) ^ np.uint32(seed), length)
    mixed = _mixed(np.uint32(seed), _scrambled(there))
    if length > 4:
        mixed ^= _scrambled(words[starts + 4] & _MASKS[length - 4])
    return _finished(mixed, length)


def hashes(words: Words, starts: Places, lengths: Places, seed: int) -> Words:
    """The hash of the bytes from each start on, (len(starts),).

    Args:
        words: what `words_at` gives.
        lengths: in bytes, 0 or more, (len(starts),); none reaches behind the end.
    """
    begun = beginnings(words, starts, lengths, seed)
    return _finished(begun.mixed ^ _scrambled(begun.rest), lengths.astype(np.uint32))


class Beginnings(NamedTuple):
    """Bytes that are hashed as far as whole blocks of four go, each (n,).

    mixed: what those make. rest: up to three bytes behind them. lengths: in bytes, with the rest.
    """

    mixed: Words
    rest: Words
    lengths: Places


def beginnings(words: Words, starts: Places, lengths: Places, seed: int) -> Beginnings:
    """What bytes begin with, to be hashed with others behind them; arguments as of `hashes`."""
    blocks = lengths >> 2
    mixed = _through_blocks(np.full(len(starts), seed, np.uint32), words, starts, blocks, 0)
    rest = words[np.minimum(starts + 4 * blocks, len(words) - 1)] & _MASKS[lengths & 3]
    return Beginnings(mixed, rest, lengths)


def hashes_behind(begun: Beginnings, words: Words, starts: Places, lengths: Places) -> Words:
    """The hash of each beginning with the bytes from its start on behind it, (len(starts),).

    Args:
        words: what `words_at` gives, at least one.
        lengths: in bytes, 0 or more, (len(starts),); none reaches behind the end.
    """
    last, before = len(words) - 1, begun.lengths & 3
    behind = before + lengths
    blocks = behind >> 2
    first = begun.rest | (words[np.minimum(starts, last)] << (8 * before).astype(np.uint32))
    any_block = blocks > 0
    mixed = np.where(any_block, _mixed(begun.mixed, _scrambled(first)), begun.mixed)
    begins = starts - before  # of the block that the rest begins
    _through_blocks(mixed, words, begins, blocks, 1)
    tail = np.where(any_block, words[np.clip(begins + 4 * blocks, 0, last)], first)
    tail &= _MASKS[behind & 3]
    return _finished(mixed ^ _scrambled(tail), (begun.lengths + lengths).astype(np.uint32))


def _through_blocks(
    mixed: Words, words: Words, begins: Places, blocks: Places, block: int
) -> Words:
    """Mixes in the blocks from one on, in place, of which there are `blocks`, (n,)."""
    longer = np.flatnonzero(blocks > block)
    while len(longer):
        there = words[begins[longer] + 4 * block]
        mixed[longer] = _mixed(mixed[longer], _scrambled(there))
        block += 1
        longer = longer[blocks[longer] > block]
    return mixed


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
