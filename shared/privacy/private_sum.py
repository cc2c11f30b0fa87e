"""What a node tells in a private run, as numbers of a sum: a training's, and an evaluation's.

All are whole multiples of 2^-GRID_BITS, modulo 2^64, so that sums of them are exact and the same
inside a secure sum and outside. A message's own part is rounded to the grid before anything is
added up, and its size is bounded after that: the sensitivity below is that of the very integers to
which noise is added, and not of real numbers that they stand for (Mironov, On Significance of the
Least Significant Bits for Differential Privacy, CCS 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.model.recipe import Recipe

GRID_BITS = 24
UNIT = 2.0**GRID_BITS
"""Units that 1 has on the grid."""
_SHARE = 0.1
"""Of `clip`, what a message adds to the number of rows, and at most to the loss. Each costs half a
percent more noise; with clip 0.2, epsilon 8 and 60 rounds the rows of a round are told to +-60."""
MOST_ROWS = 2**25
"""Of one owner; sums of a hundred owners then stay below 2^63 units."""
EXTRA = 3
"""Numbers behind the gradient: one that is 0, rows and loss; as many as a plain training has."""

Ring = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scales:
    """What a recipe's messages add to a sum, in units of the grid.

    clip: L2 norm of a message's part in the gradient, at most, before its numbers are rounded.
    rows: what each message adds to the number of rows, and at most to the loss.
    sensitivity: L2 norm of all that a message adds, at most, after rounding.
    """

    clip: float
    rows: int
    sensitivity: float

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        clip = recipe.privacy.clip * UNIT
        rows = max(1, round(_SHARE * clip))
        # each of a message's numbers, of which there are `ngrams` at most, moves by half a unit
        rounded = clip + 0.5 * math.sqrt(recipe.text.ngrams)
        return cls(clip, rows, math.hypot(rounded, rows, rows))


@dataclass(frozen=True, eq=False)
class PrivateSum:
    """The noisy sum of all owners' rows in one round.

    gradient: summed over rows, (P,). rows, loss_sum: noisy too, so that they may be below 0; a
    message's loss counts for 1 nat at most.
    """

    gradient: npt.NDArray[np.float64]
    rows: float
    loss_sum: float

    @classmethod
    def decode(cls, numbers: Ring, recipe: Recipe) -> Self:
        """Args: numbers: (P + EXTRA,)."""
        signed, scales = numbers.view(np.int64), Scales.of(recipe)
        _, rows, loss = map(int, signed[-EXTRA:])
        return cls(signed[:-EXTRA] / UNIT, rows / scales.rows, loss / scales.rows)

    def weight(self, recipe: Recipe) -> int:
        """The number of rows that the sum counts for."""
        return max(recipe.privacy.least_rows, round(self.rows))

    def step(self, base: Floats, recipe: Recipe, number: int) -> Floats:
        """The next state (P,): a step of gradient descent from `base`.

        Args:
            number: of the round, from 1.
        """
        rate = recipe.training.rate_at((number - 1) / recipe.federation.rounds)
        return (base - rate * self.gradient / self.weight(recipe)).astype(np.float32)

    def loss(self, recipe: Recipe) -> float:
        """Mean of the capped losses, in nats a row."""
        return max(0.0, self.loss_sum) / self.weight(recipe)
