"""The tutorial's GRU on shares: hand-made cells, whose numbers no node ever has whole.

The coordinator has the model and the messages, looks up the words' embeddings, and shares both; it
alone learns the scores.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from server.encrypted.activations import apply, largest_error
from server.encrypted.secret import Parties, Secret
from shared.errors import UsageError
from shared.model.layout import layout
from shared.model.recipe import Recipe

Floats = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]
SERIES_ERROR = 0.002
"""That a series may have by itself, of its function."""
_DEGREES = (8, 16, 32, 64)


class Series(NamedTuple):
    """What the holders know of the model besides its shape."""

    reach: float
    degree: int


class EncryptedScorer:
    """A model that is shared between two nodes.

    Args:
        state: the model's state (P,), float32.

    Attributes:
        series: of "sigmoid" and "tanh".

    Raises:
        UsageError: the recipe's model is another one than the article's, or its numbers are too
            large for the series.
    """

    def __init__(self, recipe: Recipe, state: Floats, parties: Parties) -> None:
        check_encrypted(recipe)
        weights, start = {}, 0
        for name, shape in layout(recipe).items():
            end = start + math.prod(shape)
            weights[name] = state[start:end].reshape(shape).astype(np.float64)
            start = end
        self._parties = parties
        self._hidden = recipe.model.hidden
        self._embedding = weights["embedding.weight"]
        inputs, hidden = weights["gru.input_gates.weight"], weights["gru.hidden_gates.weight"]
        biases = weights["gru.input_gates.bias"], weights["gru.hidden_gates.bias"]
        most = _most(self._embedding @ inputs.T + biases[0], hidden, biases[1])
        both = 2 * self._hidden
        self.series = {
            name: Series(reach, degree_for(name, reach))
            for name, reach in (("sigmoid", _up(most[:both])), ("tanh", _up(most[both:])))
        }
        output = weights["output.weight"].T
        named = {
            **self._of_words(self._embedding, inputs.T, biases[0]),
            "hidden": hidden.T,
            "hidden_bias": biases[1],
            "output": output,
            "output_bias": weights["output.bias"],
        }
        self._shared = {
            name: Secret.share(parties, np.asarray(value)) for name, value in named.items()
        }

    def _of_words(self, embedding: Exact, inputs: Exact, bias: Exact) -> dict[str, Exact]:
        """What is shared of the part that looks words up (words, wide) and projects them."""
        return {"inputs": inputs, "input_bias": bias}

    def logits(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Logits (n,) of rows of ids (n, tokens); their sigmoid is the probability of spam."""
        words = Secret.share(self._parties, self._embedding[rows])
        projected = words @ self._shared["inputs"] + self._shared["input_bias"]
        return self._read(projected).open()[:, 0]

    def _read(self, projected: Secret) -> Secret:
        """Logits (n, 1) of projected words (n, tokens, 3 hidden)."""
        number, tokens, wide = projected.shape
        state = Secret.share(self._parties, np.zeros((number, self._hidden)))
        for step in range(tokens):
            at_step = projected.each(lambda part, now=step: part[:, now], (number, wide))  # type: ignore[misc]
            state = self._cell(at_step, state)
        return state @ self._shared["output"] + self._shared["output_bias"]

    def _cell(self, projected: Secret, state: Secret) -> Secret:
        """The next state (n, hidden); as GRUCell.forward in shared/model/classifier.py."""
        hidden, both = self._hidden, 2 * self._hidden
        number = state.shape[0]
        recurrent = state @ self._shared["hidden"] + self._shared["hidden_bias"]

        def cut(one: Secret, begin: int, end: int) -> Secret:
            return one.each(lambda part: part[:, begin:end], (number, end - begin))

        sums = cut(projected, 0, both) + cut(recurrent, 0, both)
        gates = apply("sigmoid", sums, *self.series["sigmoid"])
        reset, update = cut(gates, 0, hidden), cut(gates, hidden, both)
        inner = cut(projected, both, 3 * hidden) + reset * cut(recurrent, both, 3 * hidden)
        new = apply("tanh", inner, *self.series["tanh"])
        return new + update * (state - new)


def _most(projected: Exact, hidden: Exact, bias: Exact) -> Exact:
    """What each gate is given at most, of any message: states lie between -1 and 1."""
    found: Exact = np.abs(projected).max(axis=0) + np.abs(hidden).sum(axis=1) + np.abs(bias)
    return found


def _up(most: Exact) -> float:
    """Rounded up: states of a series may leave -1 to 1 a little, and holders know this number."""
    return float(np.ceil(most.max() * 1.02 * 2) / 2)


def degree_for(name: str, reach: float) -> int:
    """The lowest degree that is good enough. Raises UsageError where none is."""
    for degree in _DEGREES:
        if largest_error(name, reach, degree - 1) <= SERIES_ERROR:
            return degree
    raise UsageError(
        "this model's numbers are too large to be computed on shares",
        f"its gates may be given numbers up to {reach:g}, for which a series would be too long",
    )


def check_encrypted(recipe: Recipe) -> None:
    """Raises UsageError for a recipe whose model is not the article's."""
    model = recipe.model
    wanted = {
        'model.kind = "gru"': model.kind == "gru",
        "model.directions = 1": model.directions == 1,
        'model.pooling = "last"': model.pooling == "last",
        "model.skip_padding = false": not model.skip_padding,
        "text.ngrams = 0": not recipe.text.ngrams,
    }
    missing = [rule for rule, met in wanted.items() if not met]
    if missing:
        raise UsageError(
            "this model cannot be computed on shares",
            f"that takes {', '.join(missing)}",
            "Train one with --recipe tutorial.",
        )
