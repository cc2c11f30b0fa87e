"""The classifier's way from ids to logits in numpy alone, for whoever has a trained model.

It gives what `SpamGRU.forward` in shared/model/classifier.py gives, to rounding, without the second
that importing torch takes, and in a quarter of the time a row: rows are sorted by length, so that a
step of the recurrence goes over the rows alone that are still being read, words are projected once,
and a gate's numbers of all rows lie side by side.
"""

from __future__ import annotations

import math

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
        self._input = np.stack([weights[f"{cell}.input_gates.weight"].T for cell in cells])
        self._weight = np.stack([weights[f"{cell}.hidden_gates.weight"] for cell in cells])
        both = 2 * self._hidden
        bias = np.stack([weights[f"{cell}.input_gates.bias"] for cell in cells])
        hidden_bias = np.stack([weights[f"{cell}.hidden_gates.bias"] for cell in cells])
        bias[:, :both] += hidden_bias[:, :both]
        self._bias = bias[:, None]
        self._new_bias = hidden_bias[:, both:, None]
        # logistic(a) = (1 + tanh(a / 2)) / 2 cannot overflow; what leads to it is halved here, once
        # (as is what the reset gate is multiplied with, which may then be 1 + tanh(a / 2))
        self._input[..., :both] *= 0.5
        self._bias[..., :both] *= 0.5
        self._weight *= 0.5
        self._new_bias *= 0.5
        self._output = weights["output.weight"][0]
        self._output_bias = weights["output.bias"][0]
        self._table: Floats | None = None

    def logits(self, ids: Ids) -> Floats:
        """The logit of each row of ids (rows, recipe.text.width), (rows,)."""
        recipe = self._recipe
        found = np.empty(len(ids), np.float32)
        words = ids[:, : recipe.text.tokens]
        lengths = np.count_nonzero(words, axis=1)
        order = np.argsort(-lengths, kind="stable")
        at_once = max(1, min(AT_ONCE, MAX_NUMBERS_A_BATCH // recipe.numbers_a_row))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(order), at_once):
                index = order[start : start + at_once]
                found[index] = self._through(words[index], np.maximum(lengths[index], 1))
            if self._wide is not None:
                found += self._wide_logits(ids[:, recipe.text.tokens :])
        return found

    def _through(self, words: Ids, lengths: Ids) -> Floats:
        """Logits without the wide part, of rows whose lengths fall."""
        model = self._recipe.model
        tokens = words.shape[1]
        if model.skip_padding:
            time = int(lengths[0])
            places = (np.arange(time) + (tokens - lengths)[:, None]) % tokens
            onward = np.take_along_axis(words, places, axis=1)
        else:
            time = tokens
            lengths = np.full(len(words), tokens)
            onward = words
        sequences = [onward, words[:, ::-1][:, :time]][: model.directions]
        table, where = self._projected(np.stack(sequences))
        pooled = self._pooled(table, where, lengths)
        side_by_side = pooled.transpose(1, 0, 2).reshape(len(words), -1)
        logits: Floats = side_by_side @ self._output + self._output_bias
        return logits

    def _projected(self, sequences: Ids) -> tuple[Floats, Ids]:
        """Projected words (directions, n, 3 hidden), and which of them each word is."""
        numbers = len(self._embedding) * self._input.shape[0] * self._input.shape[2]
        if self._table is None and (sequences.shape[1] < _TABLE_ROWS or numbers > _TABLE_NUMBERS):
            used, where = np.unique(sequences, return_inverse=True)
            return self._embedding[used] @ self._input + self._bias, where.reshape(sequences.shape)
        if self._table is None:
            self._table = self._embedding @ self._input + self._bias
        return self._table, sequences

    def _pooled(self, table: Floats, where: Ids, lengths: Ids) -> Floats:
        """What of the states is classified, (parts, rows, hidden)."""
        directions, rows, time = where.shape
        hidden, both = self._hidden, 2 * self._hidden
        last = self._recipe.model.pooling == "last"
        state = np.zeros((directions, hidden, rows), np.float32)
        highest = np.full_like(state, -np.inf)
        total = np.zeros_like(state)
        reading = np.searchsorted(-lengths, -np.arange(time), side="left")
        for step in range(time):
            still = int(reading[step])
            h = state[..., :still]
            x = np.empty((directions, 3 * hidden, still), np.float32)
            for side in range(directions):
                x[side] = table[side].take(where[side, :still, step], axis=0).T
            recurrent = self._weight @ h
            gates = recurrent[:, :both]
            gates += x[:, :both]
            np.tanh(gates, out=gates)
            gates += 1
            new = recurrent[:, both:]
            new += self._new_bias
            new *= gates[:, :hidden]
            new += x[:, both:]
            np.tanh(new, out=new)
            update = gates[:, hidden:]
            update *= 0.5
            h -= new
            h *= update
            h += new
            if not last:
                np.maximum(highest[..., :still], h, out=highest[..., :still])
                total[..., :still] += h
        pooled = state if last else np.concatenate([highest, total / lengths.astype(np.float32)])
        return pooled.transpose(0, 2, 1)

    def _wide_logits(self, features: Ids) -> Floats:
        assert self._wide is not None
        summed, number = np.empty(len(features), np.float32), np.empty(len(features), np.float32)
        for start in range(0, len(features), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            self._wide.take(features[rows]).sum(axis=1, out=summed[rows])
            number[rows] = np.count_nonzero(features[rows], axis=1)
        wide = self._recipe.model.wide_scale * summed / np.sqrt(np.maximum(number, 1))
        return wide.astype(np.float32, copy=False)


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
