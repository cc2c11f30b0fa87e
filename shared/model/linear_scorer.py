"""The linear classifier (shared/model/linear.py) in numpy alone, for whoever has a trained one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shared.model.blocks import block_sizes
from shared.model.recipe import Recipe

Values = npt.NDArray[np.float64]
_AT_ONCE = 1024  # rows


@lru_cache(maxsize=8)
def place_weights(recipe: Recipe) -> Values:
    """What a feature counts for at each place of a row, (ngrams,)."""
    sizes = block_sizes(recipe.text.ngrams).values()
    return np.repeat(recipe.model.block_weights, list(sizes))


class LinearScorer:
    """A linear model's weights, ready to read messages.

    Args:
        state: the model's state (P,), float32.

    Raises:
        ValueError: the state is not of the recipe's length.
    """

    def __init__(self, recipe: Recipe, state: npt.NDArray[np.float32]) -> None:
        if state.shape != (recipe.parameters,):
            raise ValueError(
                f"the state has shape {state.shape}, the model needs ({recipe.parameters},)"
            )
        self._recipe = recipe
        self._state = state

    def logits(self, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
        """The logit of each row of ids (rows, recipe.text.width), (rows,)."""
        found = np.empty(len(ids), np.float32)
        for start in range(0, len(ids), _AT_ONCE):
            features = ids[start : start + _AT_ONCE, self._recipe.text.tokens :]
            values = place_weights(self._recipe) * (features != 0)
            length = np.maximum(np.sqrt(np.square(values).sum(axis=1)), 1e-9)
            summed = (self._state[features] * values).sum(axis=1)
            found[start : start + _AT_ONCE] = summed / length + self._recipe.model.bias
        return found
