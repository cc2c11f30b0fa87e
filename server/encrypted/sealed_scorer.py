"""The article's GRU on messages that their owner shares: neither side sees what the other has.

A word is looked up by two digits of its id, each a row with one 1: with the low one every block of
the table has its row chosen, and with the high one the block. That opens L + B (3 hidden + 1)
numbers a word, of L low digits and B blocks, in place of one for each word that there is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from server.encrypted.scorer import EncryptedScorer, Exact, Floats
from server.encrypted.sealed import SealedParties, digits_of
from shared.model.recipe import Recipe

MOST_ROWS = 50
"""Messages in one go, where the nodes take as large ones."""
_NUMBER_BYTES = 8


class SealedScorer(EncryptedScorer):
    """A model that is shared between two nodes, for the messages of one owner.

    Args:
        state: the model's state (P,), float32.

    Raises:
        UsageError: as EncryptedScorer.
    """

    _parties: SealedParties

    def __init__(self, recipe: Recipe, state: Floats, parties: SealedParties) -> None:
        self._tokens = recipe.text.width
        words, wide = recipe.text.buckets, 3 * recipe.model.hidden
        self._low = low_digits(words, wide)
        opened = self._tokens * _opened(self._low, words, wide)
        self._in_a_go = rows_in_a_go(opened, words * wide, parties.most_bytes)
        super().__init__(recipe, state, parties)

    def _of_words(self, embedding: Exact, inputs: Exact, bias: Exact) -> dict[str, Exact]:
        projected = embedding @ inputs + bias
        words, wide = projected.shape
        blocks = -(-words // self._low)
        table = np.zeros((blocks, self._low, wide))
        table.reshape(-1, wide)[:words] = projected
        return {"table": table.transpose(1, 0, 2).reshape(self._low, blocks * wide)}

    def score(self, rows: int) -> npt.NDArray[np.float64] | None:
        """Has the owner learn the scores of its first `rows` held-out messages.

        Gives probabilities (rows,), to a thousandth, where the owner tells them; else None.
        """
        told = [
            self._score(range(start, min(start + self._in_a_go, rows)))
            for start in range(0, rows, self._in_a_go)
        ]
        known = [one for one in told if one is not None]
        return np.concatenate(known) if known else None

    def _score(self, rows: range) -> Any:
        parties, number, wide = self._parties, len(rows), 3 * self._hidden
        low, high = (
            digits_of(parties, rows, self._tokens, self._low, which) for which in ("low", "high")
        )
        words, blocks = number * self._tokens, high.shape[2]
        size = (words, blocks, wide)
        in_blocks = low.chosen(self._shared["table"]).each(lambda part: part.reshape(*size), size)
        shape = (number, self._tokens, wide)
        projected = high.chosen(in_blocks).each(lambda part: part.reshape(*shape), shape)
        return self._read(projected).reveal(rows.start)  # type: ignore[attr-defined]


def low_digits(words: int, wide: int) -> int:
    """The power of 2 with which a word opens the fewest numbers."""
    return min(_POWERS, key=lambda low: _opened(low, words, wide))


def rows_in_a_go(numbers: int, table: int, most_bytes: int) -> int:
    """How many messages are looked up at once, so that a node takes what is sent for it.

    Args:
        numbers: that a message's words open. They travel with as many of a triple, at most.
        table: numbers of the table of words, which travels whole, and as one factor of a triple.
        most_bytes: of a message that every node takes; 0 says nothing.
    """
    if not most_bytes:
        return MOST_ROWS
    room = most_bytes // (2 * _NUMBER_BYTES) - table
    return max(1, min(MOST_ROWS, room // numbers))


def _opened(low: int, words: int, wide: int) -> int:
    """Numbers that a word opens."""
    return low + -(-words // low) * (wide + 1)


_POWERS = tuple(1 << power for power in range(1, 21))
