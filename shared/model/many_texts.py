"""Many messages to rows of ids, at a tenth of the time that one after the other takes.

The ids are those of `encode` in shared/model/text.py, bit for bit. Words are looked for in the
parts of a message that stand alone, which the messages of a language have in common, and runs of
characters in all messages at once (shared/model/spelling.py).
"""

from __future__ import annotations

import html
import re
import string
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import NamedTuple

import mmh3
import numpy as np
import numpy.typing as npt

from shared.model import spelling
from shared.model.recipe import TextRecipe
from shared.model.text import NGRAM_SEED, WORD_SEED, encode
from shared.model.unicode_words import ascii_words, fold, other_words
from shared.model.words import letters, pieces, spaced, style_of, style_tokens

Ids = npt.NDArray[np.int32]

AT_ONCE = 256
"""Messages whose runs are looked for together; what is computed fits the cache of a core."""
LONGEST = 2000
"""Characters; a longer message is encoded by itself, for it is cut where it is full."""

_DIGIT = re.compile(r"\d")
_LONGEST_KEPT = 40
_LONGEST_RUN = max(spelling.SIZES)

Places = npt.NDArray[np.intp]
Kind = Callable[[str], Iterable[str]]
"""How the tokens of a part are found."""

_LEGACY: Kind = pieces
_ASCII: Kind = ascii_words
_UNICODE: Kind = other_words


class _Part(NamedTuple):
    """The tokens of a part of a message, and the hashes of each as a word and as a feature."""

    tokens: tuple[str, ...]
    words: tuple[int, ...]
    features: tuple[int, ...]


class _Message(NamedTuple):
    """What `encode` would hash of a message, runs apart.

    words: hashes of the words, as many as the recipe reads.
    features: hashes of the distinct features in front of the runs.
    short: those of them that may be a run as well.
    runs: what the runs are of.
    """

    words: list[int]
    features: list[int]
    short: list[str]
    runs: str


def encode_all(texts: Sequence[str], recipe: TextRecipe) -> Ids:
    """Messages as ids (rows, recipe.width); raises UnicodeEncodeError as `encode` does."""
    rows = np.zeros((len(texts), recipe.width), dtype=np.int32)
    plain: list[int] = []
    others: list[int] = []
    for index, text in enumerate(texts):
        if recipe.cleaning not in _READERS:
            rows[index] = encode(text, recipe)
        elif text.isascii() and len(text) <= LONGEST:
            plain.append(index)
        elif len(text) <= LONGEST and _is_utf8(text):
            others.append(index)
        else:
            rows[index] = encode(text, recipe)
    for group in (plain, others):
        for start in range(0, len(group), AT_ONCE):
            some = group[start : start + AT_ONCE]
            _fill(rows, some, [_READERS[recipe.cleaning](texts[i], recipe) for i in some], recipe)
    return rows


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fill(
    rows: Ids, index: Sequence[int], messages: Sequence[_Message], recipe: TextRecipe
) -> None:
    """Writes the ids of some messages into their rows."""
    where = np.asarray(index)
    words = [one.words for one in messages]
    numbers = np.array([len(one) for one in words])
    _put(rows, where, words, recipe.tokens - numbers, recipe.buckets)
    if recipe.ngrams:
        _fill_features(rows, where, messages, recipe)


def _fill_features(
    rows: Ids, where: Places, messages: Sequence[_Message], recipe: TextRecipe
) -> None:
    if not spelling.fits([one.runs for one in messages]):
        half = len(messages) // 2
        _fill_features(rows, where[:half], messages[:half], recipe)
        _fill_features(rows, where[half:], messages[half:], recipe)
        return
    features = [one.features[: recipe.ngrams] for one in messages]
    _put(rows, where, features, np.full(len(where), recipe.tokens), recipe.ngram_buckets)
    filled = np.array([len(one) for one in features])
    short = [(number, one) for number, message in enumerate(messages) for one in message.short]
    for found in spelling.distinct_runs([one.runs for one in messages], short, NGRAM_SEED):
        numbers = np.bincount(found.rows, minlength=len(messages))
        column = filled[found.rows] + _counted_through(numbers)
        fits = column < recipe.ngrams
        places = recipe.tokens + column[fits]
        rows[where[found.rows[fits]], places] = _ids(found.hashes[fits], recipe.ngram_buckets)
        filled += numbers


def _put(
    rows: Ids, where: Places, hashes: Sequence[Sequence[int]], start: Places, buckets: int
) -> None:
    """Writes the ids of each message's hashes into its row, from a column on."""
    numbers = np.array([len(one) for one in hashes])
    together = np.fromiter(chain.from_iterable(hashes), np.uint32, int(numbers.sum()))
    columns = np.repeat(start, numbers) + _counted_through(numbers)
    rows[np.repeat(where, numbers), columns] = _ids(together, buckets)


def _counted_through(numbers: Places) -> Places:
    """0, 1, 2 and so on for each of the numbers, one behind the other."""
    before: Places = np.arange(numbers.sum()) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    return before


def _ids(hashes: npt.NDArray[np.uint32], buckets: int) -> Ids:
    return (hashes % np.uint32(buckets - 1)).astype(np.int32) + 1


def _letters(text: str, recipe: TextRecipe) -> _Message:
    words = [_hashes_of(word)[0] for word in letters(text)[: recipe.tokens]]
    return _Message(words, [], [], spaced(text))


def _word_classes(text: str, recipe: TextRecipe) -> _Message:
    plain = html.unescape(text)
    words = [word for part in _parts(plain, _LEGACY) for word in part.words]
    return _Message(words[: recipe.tokens], [], [], spaced(text))


def _styled_words(text: str, recipe: TextRecipe) -> _Message:
    return _styled(html.unescape(text), text, _LEGACY, recipe)


def _unicode_words(text: str, recipe: TextRecipe) -> _Message:
    plain = fold(html.unescape(text))
    return _styled(plain, fold(text), _ASCII if plain.isascii() else _UNICODE, recipe)


_READERS: dict[str, Callable[[str, TextRecipe], _Message]] = {
    "letters": _letters,
    "word-classes": _word_classes,
    "styled-words": _styled_words,
    "unicode-words": _unicode_words,
}


def _styled(plain: str, spelled: str, kind: Kind, recipe: TextRecipe) -> _Message:
    """Style, words, and in front of the runs also pairs of words."""
    style = [_hashes_of_style(token) for token in _style(plain)]
    parts = _parts(plain, kind)
    words = [word for word, _ in style]
    words += chain.from_iterable([part.words for part in parts])
    if not recipe.ngrams:
        return _Message(words[: recipe.tokens], [], [], "")
    tokens = list(chain.from_iterable([part.tokens for part in parts]))
    features = chain.from_iterable([part.features for part in parts])
    single = dict(zip(tokens, features, strict=True))
    pairs = {f"b {first} {second}": None for first, second in pairwise(tokens)}
    short = [f"w {token}" for token in single if len(token) <= _LONGEST_RUN - 2]
    short += [pair for pair in pairs if len(pair) <= _LONGEST_RUN]
    front = [feature for _, feature in style]
    front += single.values()
    front += [_hash(pair, NGRAM_SEED) for pair in pairs]
    return _Message(words[: recipe.tokens], front, short, spaced(spelled))


def _style(plain: str) -> list[str]:
    if not plain.isascii():
        return style_of(plain)
    data = plain.encode("ascii")
    letters, capitals, digits = (len(data.translate(None, others)) for others in _NO_MEMBERS)
    return style_tokens(len(data), digits, letters, capitals)


def _all_but(members: str) -> bytes:
    return bytes(code for code in range(256) if chr(code) not in members)


_NO_MEMBERS = [
    _all_but(one) for one in (string.ascii_letters, string.ascii_uppercase, string.digits)
]


def _parts(plain: str, kind: Kind) -> list[_Part]:
    """A message in parts that are read alike wherever they stand.

    What spans a space has a digit on one side of it at least, as a phone number and an amount do.
    """
    if kind is _LEGACY and not plain.isascii():  # in old cleanings other digits are digits as well
        return [_read_part(plain, kind)]
    parts = plain.split(" ")
    if _DIGIT.search(plain) is None:
        return [
            _kept_part(part, kind) if len(part) <= _LONGEST_KEPT else _read_part(part, kind)
            for part in parts
        ]
    found: list[_Part] = []
    together: list[str] = []
    before = False
    for part in parts:
        digits = _DIGIT.search(part) is not None
        if together and not digits and not before:
            found.append(_joined(together, kind))
            together = []
        together.append(part)
        before = digits
    found.append(_joined(together, kind))
    return found


def _joined(parts: Sequence[str], kind: Kind) -> _Part:
    if len(parts) == 1 and len(parts[0]) <= _LONGEST_KEPT:
        return _kept_part(parts[0], kind)
    return _read_part(" ".join(parts), kind)


def _read_part(part: str, kind: Kind) -> _Part:
    tokens = tuple(kind(part))
    both = [_hashes_of(token) for token in tokens]
    return _Part(tokens, tuple(word for word, _ in both), tuple(feature for _, feature in both))


@lru_cache(maxsize=2**15)
def _kept_part(part: str, kind: Kind) -> _Part:
    return _read_part(part, kind)


@lru_cache(maxsize=2**15)
def _hashes_of(word: str) -> tuple[int, int]:
    """As a word, and as a feature."""
    return _hash(word, WORD_SEED), _hash(f"w {word}", NGRAM_SEED)


@lru_cache(maxsize=2**10)
def _hashes_of_style(token: str) -> tuple[int, int]:
    return _hash(token, WORD_SEED), _hash(token, NGRAM_SEED)


def _hash(text: str, seed: int) -> int:
    return int(mmh3.hash(text.encode(), seed, signed=False))
