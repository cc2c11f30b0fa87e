"""Messages in parts that are read alike wherever they stand: what lies between two spaces.

Some tokens span spaces: phone numbers, amounts of money. Such a space stays within its part, where
SPACE_WITHIN stands for it. It has a digit on one side at least, and on the other a digit, a sign of
a currency or the first letter of its name: see the patterns in shared/model/words.py and
shared/model/unicode_words.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.model.vocabulary import SPACE_WITHIN

Places = npt.NDArray[np.intp]
Spans = npt.NDArray[np.uint8]
"""What a character beside a space may be to a token that spans it, by its code up to 128, which
stands for all that are no ASCII."""

_DIGIT, _BEFORE_DIGIT, _BEFORE_CURRENCY, _CURRENCY = 1, 2, 4, 8
_NOT_ASCII = 128
_SPACE = ord(" ")


def _spans(of_not_ascii: int) -> Spans:
    found = np.zeros(_NOT_ASCII + 1, np.uint8)
    for characters, bits in (
        ("0123456789", _DIGIT | _BEFORE_DIGIT | _BEFORE_CURRENCY),
        (",.", _BEFORE_CURRENCY),
        ("$", _BEFORE_DIGIT | _CURRENCY),
        ("pPgGuUeE", _CURRENCY),  # pounds, gbp, usd, eur
    ):
        for character in characters:
            found[ord(character)] |= bits
    found[_NOT_ASCII] = of_not_ascii
    return found


NO_SPANS = np.zeros(_NOT_ASCII + 1, np.uint8)
SPANS = _spans(_BEFORE_DIGIT | _CURRENCY)
"""Where all digits are ASCII, as they are once a text is folded: another character may be the sign
of a currency."""
SPANS_OF_ANY_DIGIT = _spans(_DIGIT | _BEFORE_DIGIT | _BEFORE_CURRENCY | _CURRENCY)


class Joined(NamedTuple):
    """Texts with a space between them. codes: the characters. starts, lengths: (texts,)."""

    codes: npt.NDArray[np.uint8] | npt.NDArray[np.uint32]
    starts: Places
    lengths: Places


class Parts(NamedTuple):
    """texts: of all messages, one behind the other. bounds: where each message's begin, and where
    the last ends, (messages + 1,)."""

    texts: list[str]
    bounds: Places


def joined(texts: Sequence[str]) -> Joined:
    """Texts, one at least, without lone surrogates."""
    together = " ".join(texts)
    lengths = np.array([len(text) for text in texts], np.intp)
    starts = np.cumsum(lengths + 1) - lengths - 1
    if together.isascii():
        return Joined(np.frombuffer(together.encode("ascii"), np.uint8), starts, lengths)
    return Joined(np.frombuffer(together.encode("utf-32-le"), "<u4"), starts, lengths)


def parts_of(texts: Joined, spans: Spans) -> Parts:
    """The parts of texts, none of which has SPACE_WITHIN in it."""
    codes, starts = texts.codes, texts.starts
    spaces = np.flatnonzero(codes == _SPACE)
    before = spans[np.minimum(codes[np.maximum(spaces - 1, 0)], _NOT_ASCII)]
    behind = spans[np.minimum(codes[np.minimum(spaces + 1, len(codes) - 1)], _NOT_ASCII)]
    within = (before & _BEFORE_DIGIT != 0) & (behind & _DIGIT != 0)
    within |= (before & _BEFORE_CURRENCY != 0) & (behind & _CURRENCY != 0)
    within[np.searchsorted(spaces, starts[1:] - 1)] = False
    if within.any():
        codes = codes.copy()
        codes[spaces[within]] = ord(SPACE_WITHIN)
    together = codes.tobytes().decode("ascii" if codes.dtype == np.uint8 else "utf-32-le")
    breaks = spaces[~within]
    return Parts(together.split(" "), np.append(np.searchsorted(breaks, starts), len(breaks) + 1))
