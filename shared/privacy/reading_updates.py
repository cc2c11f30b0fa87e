"""What an update tells whoever holds it: which words, and which messages, it was trained on.

Of a model with tables, a feature that no message has does not move. So a word's score is how
unlikely it is that the feature of it which moved least would have moved as far by chance, of those
that it has whatever stands around it; a message's is the share of its features that moved. Of a
private run's sum (shared/privacy/private_sum.py), each number of which has noise, the score is how
far the sum lies in the direction in which the message, or the word in whatever message, would pull:
the most powerful test of one known message in Gaussian noise.

Nothing here needs the model's owner: a coordinator can do all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.model.linear_scorer import place_weights
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe

Numbers = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]
_AROUND = ("qqq {} zzz", "KJX 12345 {} VHW 67890123")
"""Words between which a word is looked at; what it has in both it has anywhere. They differ in
length, digits and capitals: of these a message has features too."""
_WORD = re.compile(r"[^\W\d_]{2,}")


def split_words(text: str) -> list[str]:
    """The words of a text that are asked about: runs of two or more letters, lower-case."""
    return _WORD.findall(text.lower())


def words_of(texts: Iterable[str]) -> list[str]:
    """The different words of all texts, sorted."""
    return sorted({word for text in texts for word in split_words(text)})


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts as the features that they have, none of them twice in a row.

    row, feature, value: (entries,), by row. A feature is its place in a model's tables, one behind
    the other; `value` is what it counts for in the linear model, and else 1. count: of rows.
    """

    row: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    value: Numbers
    count: int

    @classmethod
    def of(cls, texts: Sequence[str], recipe: Recipe) -> Self:
        """Whole messages. Raises UnicodeEncodeError for a lone surrogate."""
        keys, values = _features(texts, recipe)
        distinct, where = np.unique(keys, return_inverse=True)
        summed = np.bincount(where, values, len(distinct)).astype(np.float64)
        row, feature = np.divmod(distinct, _size(recipe))
        if recipe.model.kind == "linear":
            length = np.sqrt(np.bincount(row, np.square(summed), len(texts)))
            return cls(row, feature, summed / np.maximum(length, 1e-9)[row], len(texts))
        return cls(row, feature, np.ones(len(row)), len(texts))

    @classmethod
    def of_words(cls, words: Sequence[str], recipe: Recipe) -> Self:
        """What each word, or pair of words, has between whatever others."""
        (first, weights), (second, _) = (
            _features([around.format(word) for word in words], recipe) for around in _AROUND
        )
        keys, places, _ = np.intersect1d(first, second, return_indices=True)
        row, feature = np.divmod(keys, _size(recipe))
        return cls(row, feature, weights[places].astype(np.float64), len(words))

    def sums(self, numbers: Numbers) -> Numbers:
        """Of what each entry has, (entries,), summed over each row, (rows,)."""
        return np.bincount(self.row, numbers, self.count).astype(np.float64)

    @property
    def sizes(self) -> Numbers:
        """Features of each row, 1 where there are none."""
        return np.maximum(np.bincount(self.row, minlength=self.count), 1).astype(np.float64)

    def least(self, numbers: Numbers) -> Numbers:
        """The least of what the entries of each row have; 0 of a row without any."""
        found = np.zeros(self.count)
        if len(self.row):
            starts = np.flatnonzero(np.diff(self.row, prepend=-1))
            found[self.row[starts]] = np.minimum.reduceat(numbers, starts)
        return found


def _size(recipe: Recipe) -> int:
    return recipe.text.buckets + recipe.text.ngram_buckets


def _features(texts: Sequence[str], recipe: Recipe) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Each feature of each text as row * size + place, (entries,), and its weight."""
    ids = encode_all(texts, recipe.text).astype(np.int64)
    weights = np.ones(ids.shape)
    if recipe.model.kind == "linear":
        ids[:, : recipe.text.tokens] = 0  # the linear model has no words but those
        weights[:, recipe.text.tokens :] = place_weights(recipe)
    row, place = np.nonzero(ids)
    feature = ids[row, place] + np.where(place < recipe.text.tokens, 0, recipe.text.buckets)
    return row * _size(recipe) + feature, weights[row, place]


class Update:
    """What somebody holds of one training, or of several added up.

    Args:
        numbers: (P,): a trained state less the one before; of a private recipe the sum of
            gradients.
    """

    def __init__(self, recipe: Recipe, numbers: npt.NDArray[np.floating]) -> None:
        if numbers.shape != (recipe.parameters,):
            raise ValueError(f"the update has shape {numbers.shape}, not ({recipe.parameters},)")
        self._is_linear = recipe.model.kind == "linear"
        numbers = np.nan_to_num(numbers.astype(np.float64))
        self._buckets = recipe.text.buckets
        if self._is_linear:
            self._pull = np.concatenate([np.zeros(recipe.text.buckets), numbers])
            return
        tables = recipe.text.buckets * recipe.model.embedding
        size = recipe.text.ngram_buckets if recipe.text.ngrams else 0
        words = np.sqrt(np.square(numbers[:tables]).reshape(recipe.text.buckets, -1).sum(axis=1))
        spelling = np.abs(numbers[tables : tables + size])
        self._far = np.concatenate([_saturated(words), _saturated(spelling)])
        self._unlikely = np.concatenate([_unlikely(words), _unlikely(spelling)])

    def shuffled(self, draw: np.random.Generator, asked: npt.NDArray[np.int64]) -> Update:
        """The same numbers in other places, of words and of spelling: it tells of nobody's rows.

        Args:
            asked: distinct features (n,). Of all others nothing is to be asked, and they stay at 0:
                to shuffle a table of millions takes a fifth of a second.
        """
        other = copy(self)
        if self._is_linear:
            places = self._elsewhere(draw, asked, len(self._pull))
            other._pull = _moved(self._pull, places, asked)
        else:
            places = self._elsewhere(draw, asked, len(self._far))
            other._far = _moved(self._far, places, asked)
            other._unlikely = _moved(self._unlikely, places, asked)
        return other

    def _elsewhere(
        self, draw: np.random.Generator, asked: npt.NDArray[np.int64], count: int
    ) -> npt.NDArray[np.int64]:
        """A place for each feature (n,), as a permutation of all `count` would give."""
        is_word, places = asked < self._buckets, np.empty(len(asked), np.int64)
        words, spelling = np.count_nonzero(is_word), np.count_nonzero(~is_word)
        places[is_word] = draw.choice(self._buckets, words, replace=False)
        chosen = draw.choice(count - self._buckets, spelling, replace=False)
        places[~is_word] = self._buckets + chosen
        return places

    def words(self, rows: Rows) -> Numbers:
        """How much speaks for each word of Rows.of_words, (rows,); 0 where something excludes it.

        The score of a word that nobody has does not hang on how many features it has.
        """
        if self._is_linear:
            # all that a word has is pulled one way, by a message of which nobody knows the label
            pulled = np.abs(rows.sums(rows.value * self._pull[rows.feature]))
            return pulled / np.sqrt(np.maximum(rows.sums(np.square(rows.value)), 1e-12))
        found, possible = np.zeros(rows.count), np.ones(rows.count, bool)
        for is_word in (True, False):
            kind = (rows.feature < self._buckets) == is_word
            some = Rows(rows.row[kind], rows.feature[kind], rows.value[kind], rows.count)
            least = some.least(self._unlikely[some.feature])
            possible &= (least > 0) | (np.bincount(some.row, minlength=rows.count) == 0)
            found += least * np.bincount(some.row, minlength=rows.count)
        return np.where(possible, found, 0.0)

    def messages(self, rows: Rows, labels: Labels) -> Numbers:
        """How much speaks for each message, (rows,).

        Args:
            labels: (rows,), 1 for spam: which way it would pull.
        """
        if self._is_linear:
            return rows.sums(rows.value * self._pull[rows.feature]) * np.where(labels, -1.0, 1.0)
        far = self._far[rows.feature]
        return (rows.sums((far > 0).astype(np.float64)) + 1e-3 * rows.sums(far)) / rows.sizes


def _moved(numbers: Numbers, places: npt.NDArray[np.int64], to: npt.NDArray[np.int64]) -> Numbers:
    moved = np.zeros(len(numbers))
    moved[to] = numbers[places]
    return moved


def _saturated(moved: Numbers) -> Numbers:
    """How far each number moved, in units of the median of those that did, 0 to 1."""
    there = moved[moved > 0]
    return np.tanh(moved / np.median(there)) if there.size else moved


def _unlikely(moved: Numbers) -> Numbers:
    """-log of the share of numbers that moved as far as each, or farther; 0 of what did not."""
    there = np.flatnonzero(moved)  # of most updates few; of a masked one all
    order = there[np.argsort(moved[there])]
    far = moved[order]
    is_first = np.ones(len(order), bool)  # of those that moved as far
    is_first[1:] = far[1:] != far[:-1]
    places = np.flatnonzero(is_first)
    below = np.zeros(len(moved))
    below[order] = len(moved) - len(there) + np.repeat(places, np.diff(places, append=len(order)))
    return np.asarray(-np.log1p(-below / max(1, len(moved))))
