"""The distinct runs of 2 to 5 characters of many texts at once, in numpy.

A run is known by its characters packed into one number, and hashed by the bytes of its UTF-8
(shared/model/murmur.py). What is found is what `runs` in shared/model/words.py gives, and distinct
as in shared/model/text.py: by its characters, not by its hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.model import murmur

SIZES = (2, 3, 4, 5)

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_CHARACTER_BITS = 12
_MOST_CHARACTERS = 2**_CHARACTER_BITS
_SLOT_BITS = 16
# 2^64 over the golden ratio: Knuth, The Art of Computer Programming, volume 3, section 6.4
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_OF_ROW = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True)
class Runs:
    """Runs of one size, row by row in order of appearance.

    rows: the index of each run's text, (runs,), rising.
    hashes: (runs,).
    """

    rows: Places
    hashes: murmur.Words


def distinct_runs(texts: Sequence[str], others: Sequence[tuple[int, str]], seed: int) -> list[Runs]:
    """The runs of each size that stand in a text for the first time.

    Args:
        texts: of as many different characters as fit, see `fits`; none holds a lone surrogate.
        others: an index and a string of up to 5 characters that counts as seen in that text.
        seed: of the hashes.
    """
    together = "".join(texts) + "".join(other for _, other in others)
    if not together:
        return [Runs(np.zeros(0, np.intp), np.zeros(0, np.uint32)) for _ in SIZES]
    data = together.encode()
    places = _Places(together, data)
    lengths = np.array([*map(len, texts), *(len(other) for _, other in others)], np.intp)
    index = np.array([*range(len(texts)), *(number for number, _ in others)], np.intp)
    end = np.repeat(np.cumsum(lengths), lengths)
    rows = np.repeat(index, lengths)
    whole = np.repeat(lengths * (np.arange(len(lengths)) >= len(texts)), lengths)
    seen_from = int(lengths[: len(texts)].sum())
    return [places.runs(size, rows, end, whole, seen_from, seed) for size in SIZES]


def fits(texts: Sequence[str]) -> bool:
    """Whether `distinct_runs` takes the texts together."""
    together = "".join(texts)
    return together.isascii() or len(set(together)) <= _MOST_CHARACTERS


class _Places:
    """All characters of some texts, one behind the other."""

    def __init__(self, together: str, data: bytes) -> None:
        self.words = murmur.words_at(data)
        self.starts: Places | None = None
        if len(data) == len(together):
            self.packed = np.frombuffer(data, np.uint8).astype(np.uint64)
            self.bits = 7
            return
        codes = np.frombuffer(together.encode("utf-32-le"), "<u4")
        _, numbers = np.unique(codes, return_inverse=True)
        self.packed = numbers.astype(np.uint64)
        self.bits = _CHARACTER_BITS
        begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
        self.starts = np.append(np.flatnonzero(begins), len(data))

    def runs(
        self, size: int, rows: Places, end: Places, whole: Places, seen_from: int, seed: int
    ) -> Runs:
        keys = self._keys(size)
        place = np.arange(len(keys))
        inside = place + size <= end
        # of what only counts as seen, the whole alone; it goes first
        counts = np.where(whole > 0, (whole == size) & inside, inside)
        if (whole[seen_from:] == size).any():
            order = np.concatenate([np.arange(seen_from, len(keys)), np.arange(seen_from)])
            new = np.zeros(len(keys), bool)
            new[order] = _first_of_their_kind(keys[order], rows[order], counts[order])
        else:
            new = _first_of_their_kind(keys, rows, counts)
        kept = np.flatnonzero(new[:seen_from])
        return Runs(rows[kept], self._hashes(kept, size, seed))

    def _keys(self, size: int) -> Keys:
        """Each place's next `size` characters as one number; what lies behind the end is 0."""
        keys = self.packed.copy()
        for ahead in range(1, size):
            keys[:-ahead] |= self.packed[ahead:] << np.uint64(self.bits * ahead)
        return keys

    def _hashes(self, kept: Places, size: int, seed: int) -> murmur.Words:
        if self.starts is None:
            return murmur.hashes_of_one_length(self.words, size, seed)[kept]
        starts = self.starts[kept]
        return murmur.hashes(self.words, starts, self.starts[kept + size] - starts, seed)


def _first_of_their_kind(keys: Keys, rows: Places, counts: Flags) -> Flags:
    """Which of those that count are the first with their key and row.

    A table of fewer slots than there may be keys finds nearly all; those whose slot belongs to
    another key are sorted.
    """
    places = np.flatnonzero(counts)
    keys, rows = keys[places], rows[places]
    mixed = (keys ^ (rows.astype(np.uint64) * _OF_ROW)) * _SPREAD
    slots = (mixed >> np.uint64(64 - _SLOT_BITS)).astype(np.intp)
    table = np.zeros(2**_SLOT_BITS, np.intp)
    # from the last to the first, so that a slot keeps the first of those that share it
    table[slots[::-1]] = np.arange(len(keys) - 1, -1, -1)
    holder = table[slots]
    new = holder == np.arange(len(keys))
    shared = np.flatnonzero((keys[holder] != keys) | (rows[holder] != rows))
    if len(shared):
        order = np.lexsort((keys[shared], rows[shared]))  # stable
        ranked = shared[order]
        differs = np.append(
            True, (keys[ranked][1:] != keys[ranked][:-1]) | (rows[ranked][1:] != rows[ranked][:-1])
        )
        new[ranked[differs]] = True
    found = np.zeros(len(counts), bool)
    found[places[new]] = True
    return found
