"""The classifier's way from ids to logits in numpy alone, for whoever has a trained model.

It gives what `SpamGRU.forward` in shared/model/classifier.py gives, to rounding, without the second
that importing torch takes, and in a quarter of the time a row: rows are sorted by length, so that a
step of the recurrence goes over the rows alone that are still being read, words are projected once,
and a gate's numbers of all rows lie in one piece.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from shared.model.layout import layout
from shared.model.linear_scorer import LinearScorer
from shared.model.recipe import MAX_NUMBERS_A_BATCH, Recipe

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.integer]

AT_ONCE = 512
"""Rows that go through the recurrence together; more are no faster."""
_TABLE_ROWS = 64
"""From so many rows on it pays to project all words there are instead of those of the rows."""
_TABLE_NUMBERS = 2**22
_WIDE_AT_ONCE = 128
"""Rows whose features are summed together: their weights fit the cache of a core."""
_GATES = 3
_NEW = 2
"""Which of the gates is the new state; before it are reset and update."""


class Scorer:
    """A model's numbers, arranged for reading messages.

    Args:
        state: the model's state (P,), float32.

    Raises:
        ValueError: the state is not of the recipe's length.
    """

    def __init__(self, recipe: Recipe, state: Floats) -> None:
        if state.shape != (recipe.parameters,):
            raise ValueError(
                f"the state has shape {state.shape}, the model needs ({recipe.parameters},)"
            )
        weights, start = {}, 0
        for name, shape in layout(recipe).items():
            end = start + math.prod(shape)
            weights[name] = state[start:end].reshape(shape)
            start = end
        self._recipe = recipe
        self._hidden = recipe.model.hidden
        cells = ("gru", "reverse_gru")[: recipe.model.directions]
        self._embedding = weights["embedding.weight"]
        self._wide = weights["wide.weight"].flatten() if recipe.text.ngrams else None
        if self._wide is not None:
            self._wide[0] = 0  # of padding, which is not 0 in every model
        self._input, bias = self._by_gate(weights, cells, "input_gates")
        self._weight, hidden_bias = self._by_gate(weights, cells, "hidden_gates")
        bias[:_NEW] += hidden_bias[:_NEW]
        self._bias = bias[:, :, None]
        self._new_bias = hidden_bias[_NEW].ravel()
        # logistic(a) = (1 + tanh(a / 2)) / 2 cannot overflow; what leads to it is halved here, once
        # (as is what the reset gate is multiplied with, which may then be 1 + tanh(a / 2))
        self._input[:_NEW] *= 0.5
        self._bias[:_NEW] *= 0.5
        self._weight *= 0.5
        self._new_bias *= 0.5
        self._output = weights["output.weight"][0]
        self._output_bias = weights["output.bias"][0]
        self._table: Floats | None = None

    def _by_gate(
        self, weights: dict[str, Floats], cells: tuple[str, ...], name: str
    ) -> tuple[Floats, Floats]:
        """Weights (gates, directions, numbers, hidden) and biases (gates, directions, hidden)."""
        stacked = np.stack([weights[f"{cell}.{name}.weight"].T for cell in cells])
        biases = np.stack([weights[f"{cell}.{name}.bias"] for cell in cells])
        parted = stacked.reshape(*stacked.shape[:2], _GATES, self._hidden).transpose(2, 0, 1, 3)
        of_gates = biases.reshape(len(cells), _GATES, self._hidden).transpose(1, 0, 2)
        return np.ascontiguousarray(parted), of_gates.copy()

    def logits(self, ids: Ids) -> Floats:
        """The logit of each row of ids (rows, recipe.text.width), (rows,).

        Raises:
            IndexError: an id is not one of the recipe's.
        """
        recipe = self._recipe
        found = np.empty(len(ids), np.float32)
        words = ids[:, : recipe.text.tokens]
        lengths = _counted(words)[0]
        order = np.argsort(-lengths, kind="stable")
        at_once = max(1, min(AT_ONCE, MAX_NUMBERS_A_BATCH // recipe.numbers_a_row))
        room = _Room(min(at_once, len(ids)) * self._new_bias.size)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(order), at_once):
                index = order[start : start + at_once]
                found[index] = self._through(words[index], np.maximum(lengths[index], 1), room)
            if self._wide is not None:
                self._add_wide(found, ids[:, recipe.text.tokens :], order)
        return found

    def _through(self, words: Ids, lengths: Ids, room: _Room) -> Floats:
        """Logits without the wide part, of rows whose lengths fall."""
        model = self._recipe.model
        rows, tokens = words.shape
        if not model.skip_padding:
            lengths = np.full(rows, tokens)
        time = int(lengths[0])
        sequences = np.empty((time, rows, model.directions), np.intp)
        begin = np.arange(rows) * tokens + tokens - lengths
        # what lies behind a row's end is taken as well, and never read
        places = begin + np.arange(time)[:, None]
        sequences[..., 0] = words.ravel().take(places, mode="clip")
        if model.directions == 2:
            sequences[..., 1] = words[:, ::-1][:, :time].T
        table, where = self._projected(sequences)
        pooled = self._pooled(table, where, lengths, room)
        logits: Floats = pooled @ self._output + self._output_bias
        return logits

    def _projected(self, sequences: Ids) -> tuple[Floats, Ids]:
        """Projected words (gates, directions of words, hidden), and where in them each word is.

        Args:
            sequences: by step, row and direction, (time, rows, directions).
        """
        buckets = len(self._embedding)
        if sequences.min() < 0 or sequences.max() >= buckets:
            raise IndexError(f"a word's id is not below {buckets}, the buckets of the recipe")
        words, table, where = buckets, self._table, sequences
        many = sequences.shape[1] >= _TABLE_ROWS and buckets * self._bias.size <= _TABLE_NUMBERS
        if table is None and many:
            table = self._table = self._embedding @ self._input
            table += self._bias
        elif table is None:
            used, where = np.unique(sequences, return_inverse=True)
            words, where = len(used), where.reshape(sequences.shape)
            table = self._embedding[used] @ self._input + self._bias
        of_direction = words * np.arange(sequences.shape[2])
        return table.reshape(_GATES, -1, self._hidden), where + of_direction

    def _pooled(self, table: Floats, where: Ids, lengths: Ids, room: _Room) -> Floats:
        """What of the states is classified, (rows, parts of hidden)."""
        time, rows, directions = where.shape
        state = np.zeros((rows, directions * self._hidden), np.float32)
        highest = np.full_like(state, -np.inf)
        total = np.zeros_like(state)
        new_bias = np.tile(self._new_bias, (rows, 1))
        reading = np.searchsorted(-lengths, -np.arange(time), side="left")
        ends = [*(np.flatnonzero(np.diff(reading)) + 1).tolist(), time]
        for begin, end in zip([0, *ends], ends, strict=False):
            still = int(reading[begin])
            through = self._steps(
                table, where[begin:end, :still], state[:still], new_bias[:still], room
            )
            for h in through:
                if self._recipe.model.pooling != "last":
                    np.maximum(highest[:still], h, out=highest[:still])
                    total[:still] += h
        if self._recipe.model.pooling == "last":
            return state
        return np.concatenate([highest, total / lengths[:, None].astype(np.float32)], axis=1)

    def _steps(
        self, table: Floats, where: Ids, h: Floats, new_bias: Floats, room: _Room
    ) -> Iterator[Floats]:
        """Reads a word of each row and direction at a time, and gives h with what it is then.

        A gate's numbers of all rows and both directions lie in one piece: on such numpy works
        without an iterator and its copies.

        Args:
            h: the states (rows, directions * hidden), which are changed.
        """
        time, rows, directions = where.shape
        x, gates = room.of(rows, h.shape[1])
        x_of_words = x.reshape(_GATES, rows * directions, self._hidden)
        x_logistic, x_new = x[:_NEW], x[_NEW]
        logistic, (reset, update, new) = gates[:_NEW], gates
        h_by_direction = h.reshape(rows, directions, -1).transpose(1, 0, 2)
        by_direction = gates.reshape(_GATES, rows, directions, -1).transpose(0, 2, 1, 3)
        for words in where.reshape(time, -1):
            table.take(words, axis=1, out=x_of_words, mode="clip")
            np.matmul(h_by_direction, self._weight, out=by_direction)
            logistic += x_logistic
            np.tanh(logistic, out=logistic)
            logistic += 1
            new += new_bias
            new *= reset
            new += x_new
            np.tanh(new, out=new)
            update *= 0.5
            h -= new
            h *= update
            h += new
            yield h

    def _add_wide(self, logits: Floats, features: Ids, order: Ids) -> None:
        """Adds the wide part to logits (rows,); rows that follow in an order are of like length."""
        assert self._wide is not None
        for start in range(0, len(order), _WIDE_AT_ONCE):
            index = order[start : start + _WIDE_AT_ONCE]
            rows = features[index]
            number, end = _counted(rows)
            summed = self._wide.take(rows[:, :end]).sum(axis=1)
            scale = self._recipe.model.wide_scale / np.sqrt(np.maximum(number, 1))
            logits[index] += scale * summed


class _Room:
    """Where the numbers of a step lie, one step after the other.

    Args:
        numbers: of one gate, at most.
    """

    def __init__(self, numbers: int) -> None:
        self._room = np.empty((2, _GATES * numbers), np.float32)

    def of(self, rows: int, wide: int) -> Floats:
        """Twice (gates, rows, wide), in one piece each."""
        return self._room[:, : _GATES * rows * wide].reshape(2, _GATES, rows, wide)


def _counted(ids: Ids) -> tuple[npt.NDArray[np.intp], int]:
    """How many ids of each row are not padding, (rows,), and a column behind the last of them."""
    bits = np.packbits(ids != 0, axis=1)
    used = np.flatnonzero(bits.any(axis=0))
    end = 8 * (int(used[-1]) + 1) if len(used) else 0
    return np.bitwise_count(bits).sum(axis=1, dtype=np.intp), end


def scorer_of(recipe: Recipe, state: Floats) -> Scorer | LinearScorer:
    """A model's numbers arranged for reading messages, of whichever kind it is.

    Raises:
        ValueError: the state is not of the recipe's length.
    """
    return (LinearScorer if recipe.model.kind == "linear" else Scorer)(recipe, state)


def probabilities(logits: Floats) -> npt.NDArray[np.float64]:
    """P(spam) of each logit: its sigmoid, 0 to 1."""
    chances: npt.NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
    return chances
