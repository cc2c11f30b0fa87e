"""What a node tells in a private run, as numbers of a sum: a training's, and an evaluation's.

All are whole multiples of 2^-GRID_BITS, modulo 2^64, so that sums of them are exact and the same
inside a secure sum and outside. A message's own part is rounded to the grid before anything is
added up, and its size is bounded after that: the sensitivity below is that of the very integers to
which noise is added, and not of real numbers that they stand for (Mironov, On Significance of the
Least Significant Bits for Differential Privacy, CCS 2012).

Of unit "owner" what an owner adds is bounded once more, as a whole: to a vector no longer than
`owner_clip`, and his rows' mean loss. How many owners there are is no secret, and has no noise.
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
"""Numbers behind the gradient: one that is 0, rows or owners, and loss; as many as a plain training
has."""

Ring = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scales:
    """What a recipe's messages and owners add to a sum, in units of the grid.

    clip: L2 norm of a message's part in the gradient, at most, before its numbers are rounded.
    owner: L2 norm of an owner's part in the gradient, at most; infinite where the unit is a
        message.
    rows: what each unit adds to the number of rows, or of owners, and at most to the loss.
    sensitivity: L2 norm of all that a unit adds and that has noise, at most, after rounding; and
        of what a message changes in it, whatever the unit.
    """

    clip: float
    owner: float
    rows: int
    sensitivity: float

    @classmethod
    def of(cls, recipe: Recipe) -> Self:
        privacy = recipe.privacy
        clip = privacy.clip * UNIT
        # each of a message's numbers, of which there are `ngrams` at most, moves by half a unit
        rounded = clip + 0.5 * math.sqrt(recipe.text.ngrams)
        if privacy.unit == "message":
            rows = max(1, round(_SHARE * clip))
            return cls(clip, math.inf, rows, math.hypot(rounded, rows, rows))
        owner = privacy.owner_clip * UNIT
        rows = max(1, round(_SHARE * owner))
        # making a vector shorter moves two of them no further apart than they are; cutting off
        # what is behind the point moves each number by less than a unit, towards 0
        changed = rounded + math.sqrt(recipe.parameters) + 1
        return cls(clip, owner, rows, math.hypot(max(owner, changed), rows))

    @property
    def counts_owners(self) -> bool:
        """Whether what is counted are owners, without noise."""
        return math.isfinite(self.owner)


@dataclass(frozen=True, eq=False)
class PrivateSum:
    """The noisy sum of all owners' rows in one round.

    gradient: summed over rows, (P,), and of unit "owner" over owners, each of whom has a part of
    bounded length. rows, loss_sum: noisy too, so that they may be below 0; a message's loss counts
    for 1 nat at most. Of unit "owner" `rows` are owners, exactly, and losses their means.
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
        """The number of rows, or of owners, that the sum counts for."""
        least = 1 if recipe.privacy.unit == "owner" else recipe.privacy.least_rows
        return max(least, round(self.rows))

    def step(self, base: Floats, recipe: Recipe, number: int) -> Floats:
        """The next state (P,): a step of gradient descent from `base`.

        Args:
            number: of the round, from 1.
        """
        rate = recipe.training.rate_at((number - 1) / recipe.federation.rounds)
        return (base - rate * self.gradient / self.weight(recipe)).astype(np.float32)

    def loss(self, recipe: Recipe) -> float:
        """Mean of the capped losses, in nats a row; of unit "owner" every owner counts the same."""
        return max(0.0, self.loss_sum) / self.weight(recipe)
