"""What of messages stands before the runs of characters: their words, and features of words."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shared.model.first_of_kind import first_of_kind
from shared.model.murmur import Hashes
from shared.model.parts import NO_SPANS, SPANS, SPANS_OF_ANY_DIGIT, joined, parts_of
from shared.model.style_of_many import TOKENS, StyleCounter
from shared.model.unicode_words import ascii_words, other_words
from shared.model.vocabulary import TOKEN_BITS, Kind, Vocabulary
from shared.model.words import letters, pieces

Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

LETTERS: Kind = letters
LEGACY: Kind = pieces
ASCII: Kind = ascii_words
OTHER: Kind = other_words

_SPANS = {
    LETTERS: NO_SPANS,
    LEGACY: SPANS_OF_ANY_DIGIT,  # other digits are digits to it as well
    ASCII: SPANS,
    OTHER: SPANS,
}


class _Known(threading.local):
    """What a thread has come to know of messages, for those that follow."""

    def __init__(self) -> None:
        self.vocabularies = {kind: Vocabulary(kind) for kind in _SPANS}
        self.style = StyleCounter()


_known = _Known()


class Front:
    """Some messages, at least one.

    Args:
        texts: without SPACE_WITHIN and lone surrogates.
        kind: of their words.
    """

    def __init__(self, texts: Sequence[str], kind: Kind) -> None:
        self._joined = joined(texts)
        self._vocabulary = _known.vocabularies[kind]
        self._tokens, self._bounds = self._vocabulary.read(*parts_of(self._joined, _SPANS[kind]))
        self._style: Places | None = None

    def style(self, seed: int) -> Hashes:
        """The style tokens of each message, TOKENS of them."""
        if self._style is None:
            self._style = _known.style.tokens(*self._joined)
        hashes = _known.style.hashes(self._style, seed).ravel()
        return Hashes(np.full(len(self._style), TOKENS), hashes)

    def words(self) -> Hashes:
        """All words of each message, in order."""
        return Hashes(np.diff(self._bounds), self._vocabulary.words(self._tokens))

    def features(self) -> Hashes:
        """The distinct words of each message as features, in order of appearance."""
        return self._features_at(self._distinct())

    def classes_and_others(self) -> tuple[Hashes, Hashes]:
        """The same apart: tokens of a class, and all others."""
        places = self._distinct()
        classes = self._vocabulary.are_classes(self._tokens[places])
        return self._features_at(places[classes]), self._features_at(places[~classes])

    def pairs(self) -> Hashes:
        """The distinct pairs of words that stand side by side, likewise."""
        first, second = self._tokens[:-1], self._tokens[1:]
        messages = self._messages()
        beside = np.flatnonzero(messages[:-1] == messages[1:])
        keys = (messages[beside] << 2 * TOKEN_BITS) | (first[beside] << TOKEN_BITS) | second[beside]
        places = beside[first_of_kind(keys.astype(np.uint64))]
        return Hashes(self._numbers(places), self._vocabulary.pairs(first[places], second[places]))

    def among(self, runs: Sequence[str], messages: Sequence[int]) -> list[bool]:
        """Whether a run of 3 to 5 characters that begins with "w " or "b " is also one of its
        message's features of words, for each of them."""
        number = self._vocabulary.numbers.get
        tokens, bounds = self._tokens.tolist(), self._bounds.tolist()
        found = []
        for run, message in zip(runs, messages, strict=True):
            one = number(run[2:]) if run[0] == "w" else None
            if one is not None:
                found.append(one in tokens[bounds[message] : bounds[message + 1]])
            elif run[0] == "b" and len(run) == 5 and run[3] == " ":
                both = number(run[2]), number(run[4])
                of_message = tokens[bounds[message] : bounds[message + 1]]
                found.append(any(pair == both for pair in pairwise(of_message)))
            else:
                found.append(False)
        return found

    def _messages(self) -> Places:
        return np.repeat(np.arange(len(self._bounds) - 1), np.diff(self._bounds))

    def _distinct(self) -> Places:
        keys = (self._messages() << TOKEN_BITS) | self._tokens
        return np.flatnonzero(first_of_kind(keys.astype(np.uint64)))

    def _features_at(self, places: Places) -> Hashes:
        return Hashes(self._numbers(places), self._vocabulary.features(self._tokens[places]))

    def _numbers(self, places: Places) -> Places:
        return np.diff(np.searchsorted(places, self._bounds))


def bound_what_is_known() -> None:
    """Forgets what has grown too large; no Front that was made before may be asked after it."""
    for vocabulary in _known.vocabularies.values():
        vocabulary.bound()
