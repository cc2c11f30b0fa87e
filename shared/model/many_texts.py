"""Many messages to rows of ids, at a tenth of the time that one after the other takes.

The ids are those of `encode` in shared/model/text.py, bit for bit. Words are looked for in the
parts of a message that stand alone, which the messages of a language have in common
(shared/model/vocabulary.py), and runs of characters in all messages at once
(shared/model/spelling.py).
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

AT_ONCE = 1024
"""Messages that are read together; what is computed fits the cache of a core."""
CHARACTERS_AT_ONCE = 2**17
LONGEST = 2000
"""Characters; a longer message is encoded by itself, for it is cut where it is full."""


@dataclass(frozen=True)
class _Reading:
    """How a cleaning is read.

    texts: what words are looked for in, and what runs are cut from; ASCII without "&" stays as it
    is. ascii, other: the kinds of
    words where the first of these is ASCII, and where it is not. styled: whether style tokens come
    before the words. front: what comes before the runs: "", "words and pairs", or "blocks".
    """

    texts: Callable[[str], tuple[str, str]]
    ascii: Kind
    other: Kind
    styled: bool = True
    front: str = "words and pairs"


def _as_it_is(text: str) -> tuple[str, str]:
    return text, text


def _unescaped(text: str) -> tuple[str, str]:
    return (html.unescape(text), text) if "&" in text else (text, text)


def _folded(text: str) -> tuple[str, str]:
    if "&" in text:
        return fold(html.unescape(text)), fold(text)
    text = fold(text)
    return text, text


_READINGS = {
    "letters": _Reading(_as_it_is, LETTERS, LETTERS, styled=False, front=""),
    "word-classes": _Reading(_unescaped, LEGACY, LEGACY, styled=False, front=""),
    "styled-words": _Reading(_unescaped, LEGACY, LEGACY),
    "unicode-words": _Reading(_folded, ASCII, OTHER),
    "unicode-blocks": _Reading(_folded, ASCII, OTHER, front="blocks"),
}


class _Batch:
    """Messages that are read together; of each text it is the same whether all of it is ASCII.

    rows: where their ids go. plain: what words are looked for in. spelled: what runs are of.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.plain: list[str] = []
        self.spelled: list[str] = []
        self.characters = 0

    def add(self, row: int, plain: str, spelled: str) -> bool:
        """One more; whether it was the last for which there is room."""
        self.rows.append(row)
        self.plain.append(plain)
        self.spelled.append(spelled)
        self.characters += max(len(plain), len(spelled))
        return len(self.rows) >= AT_ONCE or self.characters >= CHARACTERS_AT_ONCE


def encode_all(texts: Sequence[str], recipe: TextRecipe) -> Ids:
    """Messages as ids (rows, recipe.width); raises UnicodeEncodeError as `encode` does."""
    rows = np.zeros((len(texts), recipe.width), dtype=np.int32)
    cleaned = _READINGS[recipe.cleaning].texts
    batches: defaultdict[tuple[bool, bool], _Batch] = defaultdict(_Batch)
    for row, text in enumerate(texts):
        if not _is_read_together(text):
            rows[row] = encode(text, recipe)
            continue
        if text.isascii() and "&" not in text:  # as most are: cleaned, it stays the same
            plain, spelled, kind = text, text, (True, True)
        else:
            plain, spelled = cleaned(text)
            kind = plain.isascii(), spelled.isascii()
            if max(len(plain), len(spelled)) > LONGEST:
                rows[row] = encode(text, recipe)
                continue
        if batches[kind].add(row, plain, spelled):
            _fill(rows, batches.pop(kind), recipe)
    for batch in batches.values():
        _fill(rows, batch, recipe)
    return rows


def _is_read_together(text: str) -> bool:
    if len(text) > LONGEST or SPACE_WITHIN in text:
        return False
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


def _fill(rows: Ids, batch: _Batch, recipe: TextRecipe) -> None:
    """Writes the ids of some messages into their rows."""
    reading = _READINGS[recipe.cleaning]
    bound_what_is_known()
    front = Front(batch.plain, reading.ascii if batch.plain[0].isascii() else reading.other)
    into = _Into(rows, np.array(batch.rows))
    _put_words(into, front, reading.styled, recipe)
    if not recipe.ngrams:
        return
    columns = _PUT_FEATURES[reading.front](into, front, recipe)
    spelling = Spelling(batch.spelled)
    first = spelling.first()
    if reading.front == "words and pairs":
        _leave_out(first, spelling, front)
    for runs in spelling.runs(first, NGRAM_SEED):
        columns = into.put(columns, recipe.width, runs, recipe.ngram_buckets)


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


def _put_nothing(into: _Into, front: Front, recipe: TextRecipe) -> Places:
    return np.array(recipe.tokens)


def _put_words_and_pairs(into: _Into, front: Front, recipe: TextRecipe) -> Places:
    columns = np.array(recipe.tokens)
    for found in (front.style(NGRAM_SEED), front.features(), front.pairs()):
        columns = into.put(columns, recipe.width, found, recipe.ngram_buckets)
    return columns


def _put_blocks(into: _Into, front: Front, recipe: TextRecipe) -> Places:
    blocks = (front.style(NGRAM_SEED), *front.classes_and_others(), front.pairs())
    end = recipe.tokens
    for found, size in zip(blocks, list(block_sizes(recipe.ngrams).values())[:-1], strict=True):
        columns, end = np.array(end), end + size
        into.put(columns, end, found, recipe.ngram_buckets)
    return np.array(end)


_PUT_FEATURES: dict[str, Callable[[_Into, Front, TextRecipe], Places]] = {
    "": _put_nothing,
    "words and pairs": _put_words_and_pairs,
    "blocks": _put_blocks,
}
"""What stands before the runs; gives the columns at which those begin."""


def _leave_out(first: Sequence[Flags], spelling: Spelling, front: Front) -> None:
    """Takes those runs away that stand in front of them already, as features of words."""
    together, places = spelling.together, spelling.places_before_a_space("wb")
    flagged = [places[flags[places]] for flags in first[1:]]
    runs = [
        together[place : place + size]
        for size, some in zip(SIZES[1:], flagged, strict=True)
        for place in some.tolist()
    ]
    messages = np.searchsorted(spelling.bounds, np.concatenate(flagged), side="right") - 1
    among = np.array(front.among(runs, messages.tolist()), bool)
    end = 0
    for flags, some in zip(first[1:], flagged, strict=True):
        flags[some[among[end : end + len(some)]]] = False
        end += len(some)
