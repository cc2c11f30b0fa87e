"""An owner's words and messages as an attack asks about them, beside others that he does not have.

What he has counts for nothing without what he has not: of an update in which everything moved every
word is recognised, and no less every other one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from shared.model.recipe import Recipe
from shared.privacy.reading_updates import Labels, Numbers, Rows, Update, words_of
from shared.privacy.recognising import Recognised, recognised
from worker_node.data.shard import Message, Shard, drawn_evenly

MOST = 512
"""Words, and messages, that are asked about, and as many others: a figure is then within some 4
points, and asking takes a twentieth of a round of `default`."""
MOST_OF_LINEAR = 128
"""The same of a linear model, whose round takes a twentieth of a second."""
_Thing = TypeVar("_Thing")
READ = 50_000
"""Rows that are read for their words, evenly drawn: it takes a second."""
FEWEST = 100
"""Others that there are at least; what the held-out rows do not have is invented."""
GUESSES = 32
"""Attacks on the same numbers in other places, which say what chance is beside invented others."""


@dataclass(frozen=True, eq=False)
class OwnTexts:
    """What is asked of the updates of one recipe.

    words, other_words, messages, other_messages: features. labels, other_labels: of the messages.
    all_words, all_messages: how many the owner has, of which some are asked about.
    are_invented: some of the others are. They are not like the owner's, whose messages share what
        the invented ones do not have: by chance all of them are found, or none.
    """

    recipe: Recipe
    words: Rows
    other_words: Rows
    messages: Rows
    other_messages: Rows
    labels: Labels
    other_labels: Labels
    all_words: int
    all_messages: int
    are_invented: bool

    @classmethod
    def of(cls, shard: Shard, recipe: Recipe) -> Self:
        """Reads training rows for their words, and encodes what is asked about.

        Messages that are not the owner's are held-out ones that are no training rows as well.
        Words are those of READ rows at most: of a million, a few others may be the owner's too.

        Raises:
            ValueError: there is no word or no message to ask about.
        """
        most = MOST_OF_LINEAR if recipe.model.kind == "linear" else MOST
        own = words_of(_texts(shard.train, READ))
        if not own:
            raise ValueError("the training rows have no words")
        held_out = words_of(_texts(shard.held_out, READ))
        other_words = _some(sorted(set(held_out) - set(own)), most)
        are_invented = len(other_words) < FEWEST
        other_words += _invented(own, other_words, FEWEST - len(other_words))
        candidates = _some(shard.held_out, most)
        texts = {row.text for row in candidates}
        trained = {row.text for row in shard.train if row.text in texts}
        others = [row for row in candidates if row.text not in trained]
        are_invented |= len(others) < FEWEST
        others += _made_up(_some(shard.train, FEWEST), other_words, FEWEST - len(others))
        messages = _some(shard.train, most)
        return cls(
            recipe,
            Rows.of_words(_some(own, most), recipe),
            Rows.of_words(other_words, recipe),
            Rows.of([row.text for row in messages], recipe),
            Rows.of([row.text for row in others], recipe),
            np.array([row.label for row in messages]),
            np.array([row.label for row in others]),
            len(own),
            len(shard.train),
            are_invented,
        )

    def attack(self, numbers: Numbers) -> tuple[Recognised, Recognised]:
        """What an update (P,) tells of words, and of messages."""
        update = Update(self.recipe, numbers)
        words, messages = self._found_in(update)
        if not self.are_invented or (words.is_chance and messages.is_chance):
            return words, messages
        draw = np.random.default_rng(0)
        asked = self._features_asked
        guesses = [self._found_in(update.shuffled(draw, asked)) for _ in range(GUESSES)]
        by_chance = [
            _reached([found.advantage for found in kind]) for kind in zip(*guesses, strict=True)
        ]
        return replace(words, by_chance=by_chance[0]), replace(messages, by_chance=by_chance[1])

    @cached_property
    def _features_asked(self) -> npt.NDArray[np.int64]:
        kinds = (self.words, self.other_words, self.messages, self.other_messages)
        return np.unique(np.concatenate([rows.feature for rows in kinds]))

    def _found_in(self, update: Update) -> tuple[Recognised, Recognised]:
        words = recognised(update.words(self.words), update.words(self.other_words))
        own = update.messages(self.messages, self.labels)
        others = update.messages(self.other_messages, self.other_labels)
        return words, recognised(own, others)


def _reached(advantages: Sequence[float]) -> float:
    """What chance goes beyond about once in ten thousand times."""
    return float(np.mean(advantages) + 4 * np.std(advantages))


def _texts(rows: Sequence[Message], most: int) -> Iterator[str]:
    return (rows[index].text for index in drawn_evenly(len(rows), most))


def _some(things: Sequence[_Thing], most: int) -> list[_Thing]:
    """As many at most, evenly drawn."""
    return [things[index] for index in drawn_evenly(len(things), most)]


def _invented(own: Sequence[str], others: Sequence[str], count: int) -> list[str]:
    """Words of the owner's letters and lengths that are neither his nor among the others."""
    draw = random.Random(0)  # noqa: S311 - nothing secret hangs on them
    letters, known = "".join(own), {*own, *others}
    found: list[str] = []
    longer = 0  # of few letters there are few short words
    while len(found) < count:
        size = len(draw.choice(own)) + longer // FEWEST
        word = "".join(draw.choices(letters, k=size))
        longer += 1
        if word not in known:
            known.add(word)
            found.append(word)
    return found


def _made_up(own: Sequence[Message], words: Sequence[str], count: int) -> list[Message]:
    """Messages of others' words, as long as the owner's."""
    draw = random.Random(0)  # noqa: S311 - nothing secret hangs on them
    like = [own[index % len(own)] for index in range(count)]
    return [
        Message(one.label, " ".join(draw.choices(words, k=max(1, len(one.text.split())))))
        for one in like
    ]
