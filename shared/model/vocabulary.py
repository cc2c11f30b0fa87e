"""The tokens of parts of messages, numbered as they come, so that none is read or hashed twice.

A part is what lies between two spaces that no token spans. Messages of a language have most of
their parts in common. A vocabulary that has grown too large is forgotten and begun anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import mmh3
import numpy as np
import numpy.typing as npt

from shared.model import murmur
from shared.model.text import NGRAM_SEED, WORD_SEED

Places = npt.NDArray[np.intp]
Kind = Callable[[str], Iterable[str]]
"""How the tokens of a part are found."""

SPACE_WITHIN = "\0"
"""Stands in a part for a space that a token may span; no message has it that is read so."""

TOKEN_BITS = 18
"""Of a token's number; two of them, a message's number and a place fit one number of 64."""
_MOST_PARTS = 2**16
_MOST_TOKENS = 2 ** (TOKEN_BITS - 1)
_MOST_CHARACTERS = 2**21


class _Numbers(dict[str, int]):
    """Numbers strings in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.new.append(key)
        return number


class _Growing:
    """An array that grows at its end."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self._room = np.zeros(1024, dtype)
        self._length = 0

    @property
    def all(self) -> npt.NDArray[Any]:
        return self._room[: self._length]

    def extend(self, values: npt.ArrayLike) -> None:
        new = np.asarray(values, self._room.dtype)
        end = self._length + len(new)
        if end > len(self._room):
            room = np.zeros(2 * end, self._room.dtype)
            room[: self._length] = self.all
            self._room = room
        self._room[self._length : end] = new
        self._length = end


class Tokens(NamedTuple):
    """Tokens of some messages, by their numbers in a vocabulary.

    numbers: (tokens,), message by message. bounds: where each message's begin, and where the last
    ends, (messages + 1,).
    """

    numbers: Places
    bounds: Places


class Vocabulary:
    """What is known of parts and tokens that one kind of reading finds."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._forget()

    def _forget(self) -> None:
        self._parts = _Numbers()
        self._tokens = _Numbers()
        self._characters = 0
        # by part: where its tokens begin, and how many there are; the tokens of all parts
        self._part_starts = _Growing(np.intp)
        self._part_counts = _Growing(np.intp)
        self._part_tokens = _Growing(np.intp)
        # by token
        self._words = _Growing(np.uint32)
        self._features = _Growing(np.uint32)
        self._classes = _Growing(np.bool_)
        # by token: "b " and the token and a space, begun to be hashed; where the token alone stands
        # in words of four bytes from each place on, and how many bytes it has
        self._mixed = _Growing(np.uint32)
        self._rest = _Growing(np.uint32)
        self._starts = _Growing(np.intp)
        self._lengths = _Growing(np.intp)
        self._four_bytes = _Growing(np.uint32)

    def bound(self) -> None:
        """Forgets all if it has grown too large; numbers of earlier calls then mean nothing."""
        if (
            len(self._parts) > _MOST_PARTS
            or len(self._tokens) > _MOST_TOKENS
            or self._characters > _MOST_CHARACTERS
        ):
            self._forget()

    def read(self, parts: Sequence[str], bounds: Places) -> Tokens:
        """The tokens of messages in parts.

        Args:
            parts: of all messages, one behind the other.
            bounds: where each message's parts begin, and where the last ends, (messages + 1,).
        """
        numbers = np.fromiter(map(self._parts.__getitem__, parts), np.intp, len(parts))
        self._learn()
        counts = self._part_counts.all[numbers]
        ends = np.zeros(len(numbers) + 1, np.intp)
        np.cumsum(counts, out=ends[1:])
        where = np.repeat(self._part_starts.all[numbers] - ends[:-1], counts)
        return Tokens(self._part_tokens.all[where + np.arange(ends[-1])], ends[bounds])

    def _learn(self) -> None:
        """Reads the parts that came up for the first time, and hashes their tokens."""
        if not self._parts.new:
            return
        read = [list(self._kind(part.replace(SPACE_WITHIN, " "))) for part in self._parts.new]
        counts = [len(tokens) for tokens in read]
        before = len(self._part_tokens.all)
        self._part_starts.extend(before + np.cumsum(counts) - counts)
        self._part_counts.extend(counts)
        self._part_tokens.extend([self._tokens[token] for token in chain.from_iterable(read)])
        self._characters += sum(map(len, self._parts.new))
        self._parts.new.clear()
        new = self._tokens.new
        self._words.extend([_hash(token, WORD_SEED) for token in new])
        self._features.extend([_hash(f"w {token}", NGRAM_SEED) for token in new])
        self._classes.extend([token.startswith("<") for token in new])
        data = [f"b {token} ".encode() for token in new]
        lengths = np.array([len(one) for one in data], np.intp)
        starts = np.cumsum(lengths) - lengths
        four_bytes = murmur.words_at(b"".join(data))
        begun = murmur.beginnings(four_bytes, starts, lengths, NGRAM_SEED)
        self._mixed.extend(begun.mixed)
        self._rest.extend(begun.rest)
        self._starts.extend(len(self._four_bytes.all) + starts + len("b "))
        self._lengths.extend(lengths - len("b  "))
        self._four_bytes.extend(four_bytes)
        new.clear()

    @property
    def numbers(self) -> Mapping[str, int]:
        """The number of each token that is known."""
        return self._tokens

    def words(self, tokens: Places) -> murmur.Words:
        """The hashes of tokens as words, (n,)."""
        words: murmur.Words = self._words.all[tokens]
        return words

    def features(self, tokens: Places) -> murmur.Words:
        """The hashes of tokens as features, (n,)."""
        features: murmur.Words = self._features.all[tokens]
        return features

    def are_classes(self, tokens: Places) -> npt.NDArray[np.bool_]:
        """Whether each stands for a class, (n,)."""
        classes: npt.NDArray[np.bool_] = self._classes.all[tokens]
        return classes

    def pairs(self, first: Places, second: Places) -> murmur.Words:
        """The hashes of pairs of tokens as features, (n,)."""
        begun = murmur.Beginnings(
            self._mixed.all[first], self._rest.all[first], self._lengths.all[first] + len("b  ")
        )
        return murmur.hashes_behind(
            begun, self._four_bytes.all, self._starts.all[second], self._lengths.all[second]
        )


def _hash(text: str, seed: int) -> int:
    return int(mmh3.hash(text.encode(), seed, signed=False))
