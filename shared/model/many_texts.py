"""Many messages to rows of ids, at a tenth of the time that one after the other takes.

The ids are those of `encode` in shared/model/text.py, bit for bit. Words are looked for in the
parts of a message that stand alone, which the messages of a language have in common
(shared/model/vocabulary.py), and runs of characters in all messages at once
(shared/model/spelling.py).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.model.blocks import block_sizes
from shared.model.first_of_kind import Flags
from shared.model.front import (
    ASCII,
    LEGACY,
    LETTERS,
    OTHER,
    Front,
    bound_what_is_known,
)
from shared.model.murmur import Hashes, Words
from shared.model.recipe import TextRecipe
from shared.model.spelling import SIZES, Spelling
from shared.model.style_of_many import TOKENS
from shared.model.text import NGRAM_SEED, WORD_SEED, encode
from shared.model.unicode_words import fold
from shared.model.vocabulary import SPACE_WITHIN, Kind

Ids = npt.NDArray[np.int32]
Places = npt.NDArray[np.intp]

AT_ONCE = 256
"""Messages that are read together; what is computed fits the cache of a core."""
CHARACTERS_AT_ONCE = 2**15
LONGEST = 2000
"""Characters; a longer message is encoded by itself, for it is cut where it is full."""


@dataclass(frozen=True)
class _Reading:
    """How a cleaning is read.

    texts: what words are looked for in, and what runs are cut from. ascii, other: the kinds of
    words where the first of these is ASCII, and where it is not. styled: whether style tokens come
    before the words. front: what comes before the runs: "", "words and pairs", or "blocks".
    """

    texts: Callable[[str], tuple[str, str]]
    ascii: Kind
    other: Kind
    styled: bool = True
    front: str = "words and pairs"


def _lowered(text: str) -> tuple[str, str]:
    return text.lower(), text


def _unescaped(text: str) -> tuple[str, str]:
    return (html.unescape(text), text) if "&" in text else (text, text)


def _folded(text: str) -> tuple[str, str]:
    if "&" in text:
        return fold(html.unescape(text)), fold(text)
    text = fold(text)
    return text, text


_READINGS = {
    "letters": _Reading(_lowered, LETTERS, LETTERS, styled=False, front=""),
    "word-classes": _Reading(_unescaped, LEGACY, LEGACY, styled=False, front=""),
    "styled-words": _Reading(_unescaped, LEGACY, LEGACY),
    "unicode-words": _Reading(_folded, ASCII, OTHER),
    "unicode-blocks": _Reading(_folded, ASCII, OTHER, front="blocks"),
}


class _Message(NamedTuple):
    """row: where its ids go. plain: what words are looked for in. spelled: what runs are of."""

    row: int
    plain: str
    spelled: str


def encode_all(texts: Sequence[str], recipe: TextRecipe) -> Ids:
    """Messages as ids (rows, recipe.width); raises UnicodeEncodeError as `encode` does."""
    rows = np.zeros((len(texts), recipe.width), dtype=np.int32)
    for some in _in_batches(_messages(rows, texts, recipe)):
        _fill(rows, some, recipe)
    return rows


def _messages(rows: Ids, texts: Sequence[str], recipe: TextRecipe) -> Iterator[_Message]:
    """The messages that can be read together; writes the ids of each other one."""
    cleaned = _READINGS[recipe.cleaning].texts
    for row, text in enumerate(texts):
        if len(text) <= LONGEST and SPACE_WITHIN not in text and _is_utf8(text):
            plain, spelled = cleaned(text)
            if max(len(plain), len(spelled)) <= LONGEST:
                yield _Message(row, plain, spelled)
                continue
        rows[row] = encode(text, recipe)


def _is_utf8(text: str) -> bool:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def _in_batches(messages: Iterable[_Message]) -> Iterator[list[_Message]]:
    """Those in ASCII apart from others."""
    waiting: dict[bool, list[_Message]] = {True: [], False: []}
    characters = {True: 0, False: 0}
    for message in messages:
        kind = message.plain.isascii() and message.spelled.isascii()
        some = waiting[kind]
        some.append(message)
        characters[kind] += len(message.plain)
        if len(some) >= AT_ONCE or characters[kind] >= CHARACTERS_AT_ONCE:
            yield some
            waiting[kind], characters[kind] = [], 0
    yield from filter(None, waiting.values())


def _fill(rows: Ids, messages: Sequence[_Message], recipe: TextRecipe) -> None:
    """Writes the ids of some messages into their rows."""
    reading = _READINGS[recipe.cleaning]
    bound_what_is_known()
    columns = np.full(len(messages), recipe.tokens)
    fronts: dict[int, tuple[Front, int]] = {}
    for is_ascii, kind in ((True, reading.ascii), (False, reading.other)):
        some = [n for n, one in enumerate(messages) if one.plain.isascii() == is_ascii]
        if some:
            front = Front([messages[n].plain for n in some], kind)
            fronts.update((n, (front, place)) for place, n in enumerate(some))
            into = _Into(rows, np.array([messages[n].row for n in some]))
            _put_words(into, front, reading.styled, recipe)
            if recipe.ngrams:
                columns[some] = _PUT_FEATURES[reading.front](into, front, recipe)
    if not recipe.ngrams:
        return
    for is_ascii in (True, False):
        some = [n for n, one in enumerate(messages) if one.spelled.isascii() == is_ascii]
        if some:
            spelling = Spelling([messages[n].spelled for n in some])
            first = spelling.first()
            if reading.front == "words and pairs":
                _leave_out(first, spelling, [fronts[n] for n in some])
            into = _Into(rows, np.array([messages[n].row for n in some]))
            column = columns[some]
            for runs in spelling.runs(first, NGRAM_SEED):
                column = into.put(column, recipe.width, runs, recipe.ngram_buckets)


class _Into:
    """Rows of ids, some of which are filled from the left."""

    def __init__(self, rows: Ids, index: Places) -> None:
        self._flat = rows.reshape(-1)
        self._begin = index * rows.shape[1]

    def put(self, columns: Places, end: int, found: Hashes, buckets: int) -> Places:
        """Writes ids of hashes, those of each row from a column on, up to before `end`.

        Returns:
            The column behind the last, `end` or more where the row is full.
        """
        numbers, hashes = found
        before = np.cumsum(numbers) - numbers
        where = np.repeat(self._begin + columns - before, numbers) + np.arange(len(hashes))
        if (columns + numbers > end).any():
            fits = where < np.repeat(self._begin + end, numbers)
            where, hashes = where[fits], hashes[fits]
        self._flat[where] = _ids(hashes, buckets)
        return columns + numbers


def _ids(hashes: Words, buckets: int) -> Ids:
    # the remainder by way of the quotient, which numpy has vectorised
    divisor = np.uint32(buckets - 1)
    ids = hashes - hashes // divisor * divisor
    ids += np.uint32(1)
    return ids.view(np.int32)


def _put_words(into: _Into, front: Front, styled: bool, recipe: TextRecipe) -> None:
    words = front.words()
    numbers = words.numbers + TOKENS if styled else words.numbers
    column = np.maximum(recipe.tokens - numbers, 0)
    if styled:
        column = into.put(column, recipe.tokens, front.style(WORD_SEED), recipe.buckets)
    into.put(column, recipe.tokens, words, recipe.buckets)


def _put_nothing(into: _Into, front: Front, recipe: TextRecipe) -> int:
    return recipe.tokens


def _put_words_and_pairs(into: _Into, front: Front, recipe: TextRecipe) -> Places:
    column = np.array(recipe.tokens)
    for found in (front.style(NGRAM_SEED), front.features(), front.pairs()):
        column = into.put(column, recipe.width, found, recipe.ngram_buckets)
    return column


def _put_blocks(into: _Into, front: Front, recipe: TextRecipe) -> int:
    blocks = (front.style(NGRAM_SEED), *front.classes_and_others(), front.pairs())
    end = recipe.tokens
    for found, size in zip(blocks, list(block_sizes(recipe.ngrams).values())[:-1], strict=True):
        column, end = end, end + size
        into.put(np.array(column), end, found, recipe.ngram_buckets)
    return end


_PUT_FEATURES: dict[str, Callable[[_Into, Front, TextRecipe], Places | int]] = {
    "": _put_nothing,
    "words and pairs": _put_words_and_pairs,
    "blocks": _put_blocks,
}


def _leave_out(
    first: Sequence[Flags], spelling: Spelling, fronts: Sequence[tuple[Front, int]]
) -> None:
    """Takes those runs away that stand in front of them already, as features of words."""
    together, bounds = spelling.together, spelling.bounds
    places = spelling.places_before_a_space("wb")
    messages = np.searchsorted(bounds, places, side="right") - 1
    for place, message in zip(places.tolist(), messages.tolist(), strict=True):
        front, number = fronts[message]
        for size, flags in zip(SIZES[1:], first[1:], strict=True):
            if flags[place] and front.has(number, together[place : place + size]):
                flags[place] = False
