"""What an owner puts into a secure sum, and what the sum of all of them tells.

Every figure that an owner would tell of itself travels as a number of the sum: rows and losses
beside a trained state, the counts of an evaluation, and the figures of a comparison. Nothing here
is secret by itself; the masks of shared/secure_aggregation/masks.py are what hides it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from shared.model.comparison import FIGURES, SCALE, Gain
from shared.model.metrics import BINS, Counts, ScoreSummary
from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.fixed_point import (
    MAX_ROWS,
    Floats,
    Integers,
    Ring,
    decode,
    encode,
    mean,
    reach_of,
)

LOSS_BITS = 20
"""Fractional bits of a summed loss; it may be up to 2^36, whatever the owners' number."""
_MOST_LOSS = 2.0**36
_MOST_TOTAL_ROWS = MAX_ROWS * 100
_LAST_OF_TRAINING = 3  # numbers that follow the state: reach, rows, loss
EVALUATION_NUMBERS = 2 * BINS + 1
_A_FIGURE = 5
COMPARISON_NUMBERS = len(FIGURES) * _A_FIGURE


def state_digest(state: Floats) -> bytes:
    """What a state (P,) is called in a Context, 32 bytes."""
    return digest(np.ascontiguousarray(state, "<f4").data)


def recipe_digest(recipe: str) -> bytes:
    """What a recipe's JSON, as Recipe.to_json writes it, is called in a Context, 32 bytes."""
    return digest(recipe.encode())


def training_numbers(parameters: int) -> int:
    """Numbers in a training's vector, for a model of so many parameters."""
    return parameters + _LAST_OF_TRAINING


def encode_training(state: Floats, rows: int, loss: float) -> Ring:
    """A trained state (P,), its rows and its mean loss as a vector (P + 3,) of a sum.

    Args:
        rows: what the state counts for, 1 to MAX_ROWS.
        loss: mean over the rows, in nats.

    Raises:
        ValueError: a number is not finite, below what it may be, or too large.
    """
    encoded = encode(state, rows)
    tail = [reach_of(encoded), rows, _encode_loss(loss * rows)]
    return np.concatenate([encoded, np.array(tail, np.uint64)])


def encode_evaluation(summary: ScoreSummary) -> Ring:
    """An owner's held-out counts and summed loss as a vector (EVALUATION_NUMBERS,) of a sum.

    Raises:
        ValueError: the loss is not finite or too large.
    """
    loss = np.array([_encode_loss(summary.loss_sum)], np.uint64)
    return np.concatenate([_ring(summary.ham), _ring(summary.spam), loss])


@dataclass(frozen=True, eq=False)
class TrainingSum:
    """What the sum of trainings tells.

    total: rows times state, summed, (P,), in the grid's units. rows: of all owners together.
    loss_sum: of all their rows, in nats.
    """

    total: Integers
    rows: int
    loss_sum: float

    @classmethod
    def decode(cls, numbers: Ring) -> Self:
        """Raises ValueError where no honest owners have such a sum, or it may have wrapped."""
        state, tail = np.split(numbers, [numbers.size - _LAST_OF_TRAINING])
        reach, rows, loss = map(int, tail)
        if not 0 < rows <= _MOST_TOTAL_ROWS:
            raise ValueError("the sum of the owners' rows is impossible")
        return cls(decode(state, reach), rows, _decode_loss(loss))

    @property
    def state(self) -> Floats:
        """The mean state (P,) weighted by rows: the bits of a plain round's."""
        return mean({0: self.total}, self.total.size, self.rows)

    @property
    def loss(self) -> float:
        """Mean loss over all rows, in nats."""
        return self.loss_sum / self.rows


def decode_evaluation(numbers: Ring) -> ScoreSummary:
    """The merged counts of all owners. Raises ValueError where they are impossible."""
    ham, spam, loss = np.split(numbers.view(np.int64), [BINS, 2 * BINS])
    return ScoreSummary(ham, spam, _decode_loss(int(loss[0])))


def encode_comparison(gains: Mapping[str, Gain]) -> Ring:
    """An owner's figures, alone and federated, as a vector (COMPARISON_NUMBERS,) of a sum.

    Five numbers a figure: whether there is one, alone, federated, whether the owner is better off
    federated and whether it is better off alone. A figure is rounded to 1 / SCALE.
    """
    numbers = []
    for name in FIGURES:
        one = gains[name]
        if one.alone is None or one.federated is None:
            numbers += [0] * _A_FIGURE
            continue
        both = (round(one.alone * SCALE), round(one.federated * SCALE))
        numbers += [1, *both, int(one.is_better), int(one.is_worse)]
    return np.array(numbers, np.int64).view(np.uint64)


@dataclass(frozen=True)
class FigureSum:
    """What a sum of comparisons tells of one figure.

    owners: who have it. alone, federated: the mean of theirs; None of nobody.
    better, worse: owners whose whole interval of the gain lies above 0, or below.
    """

    owners: int
    alone: float | None
    federated: float | None
    better: int
    worse: int

    @property
    def gain(self) -> float | None:
        """The mean gain; None of nobody."""
        if self.alone is None or self.federated is None:
            return None
        return self.federated - self.alone


def decode_comparison(numbers: Ring, owners: int) -> dict[str, FigureSum]:
    """Each figure's sum over all owners, by name.

    Args:
        owners: whose sum it is.

    Raises:
        ValueError: no honest owners have such a sum.
    """
    found = {}
    for name, five in zip(FIGURES, numbers.view(np.int64).reshape(-1, _A_FIGURE), strict=True):
        have, alone, federated, better, worse = map(int, five)
        is_possible = 0 <= have <= owners and min(better, worse) >= 0 and better + worse <= have
        if not is_possible or max(abs(alone), abs(federated)) > have * SCALE:
            raise ValueError(f"the owners' sum of {name} is impossible")
        means = [total / (have * SCALE) if have else None for total in (alone, federated)]
        found[name] = FigureSum(have, means[0], means[1], better, worse)
    return found


def _ring(counts: Counts) -> Ring:
    return counts.astype(np.int64).view(np.uint64)


def _encode_loss(total: float) -> int:
    if not 0 <= total <= _MOST_LOSS:
        raise ValueError("a summed loss is not finite, below 0 or too large")
    return round(total * 2.0**LOSS_BITS)


def _decode_loss(total: int) -> float:
    if not 0 <= total <= 100 * _MOST_LOSS * 2.0**LOSS_BITS:
        raise ValueError("the sum of the owners' losses is impossible")
    return total * 2.0**-LOSS_BITS
