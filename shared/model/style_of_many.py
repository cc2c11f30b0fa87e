"""The style tokens of many texts at once, with the hashes of those of shared/model/words.py."""

from __future__ import annotations

import mmh3
import numpy as np
import numpy.typing as npt

from shared.model.murmur import Words
from shared.model.text import NGRAM_SEED, WORD_SEED

Places = npt.NDArray[np.intp]

TOKENS = 3
"""Of a text: its length, its digits and its capitals."""

# what a character is, beside each other in one number, so that one sum counts all three
_LETTER, _CAPITAL, _DIGIT = (np.int64(1 << shift) for shift in (0, 20, 40))
MOST_CHARACTERS = 2**20 - 1
"""Of all texts together."""
_KNOWN = 62
_HALVES = 2 * MOST_CHARACTERS.bit_length() + 1


class StyleCounter:
    """Counts what texts are made of; what a character is, it looks up once."""

    def __init__(self) -> None:
        self._kinds = np.zeros(0x110000, np.int64)  # 0 of those that never came up
        self._hashes: dict[int, Words] = {seed: _hashes(seed) for seed in (WORD_SEED, NGRAM_SEED)}

    def tokens(self, codes: npt.NDArray[np.integer], starts: Places, lengths: Places) -> Places:
        """Which tokens each text has: numbers for `hashes`, (texts, TOKENS).

        Args:
            codes: the characters of all texts, at most MOST_CHARACTERS.
            starts, lengths: where each text stands in them.
        """
        kinds = self._kinds[codes]
        new = np.flatnonzero(kinds == 0)
        if len(new):
            for code in np.unique(codes[new]).tolist():
                self._kinds[code] = _kind(chr(code))
            kinds = self._kinds[codes]
        summed = np.zeros(len(codes) + 1, np.int64)
        np.cumsum(kinds & ((1 << _KNOWN) - 1), out=summed[1:])
        counts = summed[starts + lengths] - summed[starts]
        letters, capitals, digits = (counts >> shift & MOST_CHARACTERS for shift in (0, 20, 40))
        share = np.sqrt(100 * capitals // np.maximum(letters, 1)).astype(np.intp)
        return np.stack([_halves(lengths), _halves(digits) + _HALVES, share + 2 * _HALVES], axis=1)

    def hashes(self, tokens: Places, seed: int) -> Words:
        """The hashes of tokens by their numbers, of the same shape."""
        hashes: Words = self._hashes[seed][tokens]
        return hashes


def _kind(character: str) -> np.int64:
    found = np.int64(1 << _KNOWN)
    if character.isalpha():
        found |= _LETTER
        if character.isupper():
            found |= _CAPITAL
    if character.isdigit():
        found |= _DIGIT
    return found


def _halves(numbers: Places) -> Places:
    """Twice the binary logarithm of number + 1, rounded down: that of the square, exactly."""
    doublings: Places = np.frexp((numbers + 1.0) ** 2)[1].astype(np.intp)
    return doublings - 1


def _hashes(seed: int) -> Words:
    tokens = [f"<length {number}>" for number in range(_HALVES)]
    tokens += [f"<digits {number}>" for number in range(_HALVES)]
    tokens += [f"<upper {number}>" for number in range(11)]
    return np.array([mmh3.hash(token.encode(), seed, signed=False) for token in tokens], np.uint32)
