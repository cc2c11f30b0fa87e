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
from shared.model.first_of_kind import Flags, Places, repeated
from shared.model.words import spaced

SIZES = (2, 3, 4, 5)

Codes = npt.NDArray[np.uint64]

_CHARACTER_BITS = 21


def _spaced(texts: Sequence[str]) -> tuple[bytes, Places]:
    plain = [spaced(text) for text in texts]
    return "".join(plain).encode(), np.cumsum([0, *map(len, plain)])


_LOWER_AND_SPACES = bytes(
    ord(" ") if chr(code).isspace() else ord(chr(code).lower()) for code in range(128)
) + bytes(128)


def _spaced_ascii(texts: Sequence[str]) -> tuple[bytes, Places] | None:
    """The same of all texts at once; None where one has other characters, or spaces alone."""
    together = " " + " \0 ".join(texts) + " "
    if not together.isascii():
        return None
    data = together.encode().translate(_LOWER_AND_SPACES)
    codes = np.frombuffer(data, np.uint8)
    kept = codes != 0
    spaces = codes == ord(" ")
    kept[1:] &= ~(spaces[1:] & spaces[:-1])
    bounds = np.append(0, np.cumsum(kept)[np.append(np.flatnonzero(codes == 0), -1)])
    if np.diff(bounds).min() < 2:
        return None
    return codes[kept].tobytes(), bounds


class Spelling:
    """The texts whose runs are asked for.

    Args:
        texts: at least one; none holds NUL or a lone surrogate.

    Attributes:
        together: what `spaced` in shared/model/words.py makes of the texts, one behind the other.
        bounds: where each begins in it, and where the last ends, (texts + 1,).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._data, self.bounds = _spaced_ascii(texts) or _spaced(texts)
        self.together = self._data.decode()
        self._ascii = len(self._data) == len(self.together)
        if self._ascii:
            codes = np.frombuffer(self._data, np.uint8)
        else:
            codes = np.frombuffer(self.together.encode("utf-32-le"), "<u4")
        self._codes: Codes = codes.astype(np.uint64)

    def places_before_a_space(self, letters: str) -> Places:
        """Where one of some letters stands with a space behind it."""
        codes = self._codes[:-1]
        among = codes == ord(letters[0])
        for letter in letters[1:]:
            among |= codes == ord(letter)
        return np.flatnonzero(among & (self._codes[1:] == ord(" ")))

    def first(self) -> list[Flags]:
        """For each size, whether a run begins at a place that no place before in its text has."""
        number = len(self._codes)
        codes = np.append(self._codes, np.zeros(SIZES[-1], np.uint64))
        # the number of a text tells its runs from those of others
        kinds = np.repeat(np.arange(len(self.bounds) - 1, dtype=np.uint64), np.diff(self.bounds))
        if self._ascii:  # two characters and the place fit a key, which saves a step
            kinds = (kinds << np.uint64(7)) | self._codes
        inside = np.ones(number, bool)
        places: Places | None = None  # all
        found = []
        for size in SIZES if self._ascii else (1, *SIZES):
            # a run over a text's end is looked at as any other: those within stand before it
            following = codes[size - 1 :][:number] if places is None else codes[places + size - 1]
            keys = (kinds << np.uint64(_CHARACTER_BITS)) | following
            places, kinds, again = repeated(keys, np.arange(number) if places is None else places)
            if size > 1:
                inside[np.maximum(self.bounds[1:] - (size - 1), 0)] = False
                new = inside.copy()
                new[places[again]] = False
                found.append(new)
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
                hashes = murmur.hashes_of_one_length(words, kept, size, seed)
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
