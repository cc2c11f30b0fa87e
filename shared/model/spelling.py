"""The distinct runs of 2 to 5 characters of many texts at once, in numpy.

A run of one more character is a run with a character behind it: places whose runs of one size are
equal are sorted by the character that follows, and a run that stands once in its text is looked at
no more. What is found is what `runs` in shared/model/words.py gives, and distinct as in
shared/model/text.py: by its characters, not by its hash. Hashes are those of its UTF-8
(shared/model/murmur.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.model import murmur
from shared.model.first_of_kind import Flags, Places, sorted_by_kind

SIZES = (2, 3, 4, 5)

Codes = npt.NDArray[np.uint64]

_CHARACTER_BITS = 21


class Spelling:
    """The texts whose runs are asked for.

    Args:
        texts: of at least two characters each; none holds a lone surrogate.

    Attributes:
        together: the texts, one behind the other.
        bounds: where each begins in it, and where the last ends, (texts + 1,).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.together = "".join(texts)
        self.bounds = np.zeros(len(texts) + 1, np.intp)
        np.cumsum([len(text) for text in texts], out=self.bounds[1:])
        self._data = self.together.encode()
        self._ascii = len(self._data) == len(self.together)
        if self._ascii:
            codes = np.frombuffer(self._data, np.uint8)
        else:
            codes = np.frombuffer(self.together.encode("utf-32-le"), "<u4")
        self._codes: Codes = codes.astype(np.uint64)

    def places_before_a_space(self, letters: str) -> Places:
        """Where one of some letters stands with a space behind it."""
        if not len(self._codes):
            return np.zeros(0, np.intp)
        before = np.isin(self._codes[:-1], [ord(letter) for letter in letters])
        return np.flatnonzero(before & (self._codes[1:] == ord(" ")))

    def first(self) -> list[Flags]:
        """For each size, whether a run begins at a place that no place before in its text has."""
        codes = self._codes
        inside = np.ones(len(codes), bool)
        places = np.arange(len(codes))
        # the number of a text tells its runs from those of others
        kinds = np.repeat(np.arange(len(self.bounds) - 1, dtype=np.uint64), np.diff(self.bounds))
        if self._ascii:  # two characters and the place fit a key, which saves a step
            kinds = (kinds << np.uint64(7)) | codes
        found = []
        for size in SIZES if self._ascii else (1, *SIZES):
            if size > 1:
                inside[np.maximum(self.bounds[1:] - (size - 1), 0)] = False
            fits = inside[places]
            places, kinds = places[fits], kinds[fits]
            keys = (kinds << np.uint64(_CHARACTER_BITS)) | codes[places + (size - 1)]
            sort = sorted_by_kind(keys, places)
            again = ~sort.starts
            if size > 1:
                new = inside.copy()
                new[sort.places[again]] = False
                found.append(new)
            shared = again.copy()
            shared[:-1] |= again[1:]
            places, kinds = sort.places[shared], np.cumsum(sort.starts)[shared].astype(np.uint64)
        return found

    def runs(self, first: Sequence[Flags], seed: int) -> list[murmur.Hashes]:
        """The runs of each size that begin at flagged places, with hashes of that seed."""
        words = murmur.words_at(self._data)
        starts = self._starts_in_bytes()
        found = []
        for size, flags in zip(SIZES, first, strict=True):
            kept = np.flatnonzero(flags)
            numbers = np.diff(np.searchsorted(kept, self.bounds))
            if starts is None:
                hashes = murmur.hashes_of_one_length(words, size, seed)[kept]
            else:
                hashes = murmur.hashes(
                    words, starts[kept], starts[kept + size] - starts[kept], seed
                )
            found.append(murmur.Hashes(numbers, hashes))
        return found

    def _starts_in_bytes(self) -> Places | None:
        """Where each character begins, and the last ends; None where each is a byte."""
        if self._ascii:
            return None
        begins = (np.frombuffer(self._data, np.uint8) & 0xC0) != 0x80
        return np.append(np.flatnonzero(begins), len(self._data))
