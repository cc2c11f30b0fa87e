"""One round of a private run at a node: the clipped gradients of all rows, summed, with noise.

Of unit "owner" the whole sum is then made no longer than `owner_clip` (McMahan et al., Learning
Differentially Private Recurrent Language Models, ICLR 2018, of gradients instead of models).

There is one step a round, over all rows, so nothing is drawn but noise. The model is linear and a
row has length 1: a message's gradient is its features times how wrong the model is about it, and
clipping bounds that one number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.model.linear_scorer import Values, place_weights
from shared.model.recipe import Recipe
from shared.privacy.private_sum import EXTRA, MOST_ROWS, UNIT, Floats, Ring, Scales
from worker_node.training.noise import gaussian

_SLACK = 1 - 1e-9  # a norm is a rounded number; the clipped one stays below the bound


@dataclass(frozen=True, eq=False)
class Features:
    """Rows of features, as the entries that are not 0: none stands twice.

    row, bucket, value: (entries,). length: L2 norm of each row, (rows,), near 1.
    """

    row: npt.NDArray[np.int64]
    bucket: npt.NDArray[np.int64]
    value: Values
    length: Values

    @classmethod
    def of(cls, ids: npt.NDArray[np.integer], recipe: Recipe) -> Self:
        """Args: ids: (rows, recipe.text.width), as shared/model/text.py makes them."""
        features = ids[:, recipe.text.tokens :]
        there = features != 0
        weights = place_weights(recipe) * there
        weights /= np.maximum(np.sqrt(np.square(weights).sum(axis=1, keepdims=True)), 1e-9)
        row, place = np.nonzero(there)
        # two features of a message may have one bucket
        keys = row * recipe.text.ngram_buckets + features[row, place]
        distinct, where = np.unique(keys, return_inverse=True)
        value = np.bincount(where, weights[row, place], len(distinct)).astype(np.float64)
        row, bucket = np.divmod(distinct, recipe.text.ngram_buckets)
        length: Values = np.sqrt(np.bincount(row, np.square(value), len(ids)))
        return cls(row, bucket, value, length)

    def logits(self, state: Floats, bias: float) -> Values:
        """Of each row, (rows,)."""
        summed = np.bincount(self.row, self.value * state[self.bucket], len(self.length))
        return np.asarray(summed + bias)


def exact_sum(
    state: Floats, features: Features, labels: npt.NDArray[np.integer], recipe: Recipe
) -> npt.NDArray[np.int64]:
    """What all rows add up to, without noise, (P + EXTRA,) in units. It must not leave the node.

    Of unit "message" each adds no more than Scales.sensitivity to it, and no state makes that fail:
    an error that hangs on the rows would tell of them without noise.

    Args:
        state: finite numbers (P,).

    Raises:
        ValueError: there are more rows than a sum can have, or the state is no such one.
    """
    check_state(state, recipe)
    if len(labels) > MOST_ROWS:
        raise ValueError(f"a private run takes {MOST_ROWS:,} rows of an owner at most")
    scales = Scales.of(recipe)
    logits = features.logits(state, recipe.model.bias)
    wrong = _sigmoid(logits) - labels
    most = recipe.privacy.clip * _SLACK / np.maximum(features.length, 1e-9)
    factor = np.clip(wrong, -most, most) * UNIT
    # whole numbers below 2^53: their sum is exact in any order
    parts = np.rint(factor[features.row] * features.value)
    gradient = np.bincount(features.bucket, parts, len(state))
    losses = np.minimum(np.logaddexp(0.0, logits) - logits * labels, 1.0)
    told = [0, scales.rows * len(labels), int(np.floor(losses * scales.rows).sum())]
    return np.concatenate([gradient.astype(np.int64), np.array(told, np.int64)])


def as_one_owner(
    numbers: npt.NDArray[np.int64], rows: int, recipe: Recipe
) -> npt.NDArray[np.int64]:
    """What an owner adds to a sum of unit "owner", (P + EXTRA,); it must not leave the node either.

    The gradient is no longer than Scales.owner, and behind it stand one owner and the mean loss of
    the rows. But for that one it is as long as Scales.sensitivity at most; and a message more or
    less changes it by no more than that.

    Args:
        numbers: exact_sum of all rows. rows: how many.
    """
    scales = Scales.of(recipe)
    gradient = numbers[:-EXTRA].astype(np.float64)
    most = scales.owner * _SLACK
    length = float(np.sqrt(np.square(gradient).sum()))
    if length > most:
        gradient = np.trunc(gradient * (most / length))
    mean_loss = int(numbers[-1]) // max(rows, 1)
    return np.concatenate([gradient.astype(np.int64), [0, scales.rows, mean_loss]])


def check_state(state: Floats, recipe: Recipe) -> None:
    """Raises ValueError for what is no state (P,) of finite numbers; looks at no row."""
    if state.shape != (recipe.parameters,) or not np.isfinite(state).all():
        raise ValueError(f"the state is not one of {recipe.parameters:,} finite numbers")


def release(
    state: Floats,
    parts: Iterable[tuple[Features, npt.NDArray[np.integer]]],
    recipe: Recipe,
    multiplier: float,
) -> Ring:
    """The sum of all rows with this owner's noise, (P + EXTRA,).

    Args:
        parts: all rows, some at a time, each with their labels.
        multiplier: the noise's standard deviation, in sensitivities.
    """
    check_state(state, recipe)
    scales, rows = Scales.of(recipe), 0
    numbers = np.zeros(recipe.parameters + EXTRA, np.int64)
    for features, labels in parts:
        numbers += exact_sum(state, features, labels, recipe)
        rows += len(labels)
    noise = gaussian(multiplier * scales.sensitivity, len(numbers))
    noise[-EXTRA] = 0  # a number that tells nothing
    if scales.counts_owners:
        numbers = as_one_owner(numbers, rows, recipe)
        noise[1 - EXTRA] = 0  # nor does this one
    return (numbers + noise).view(np.uint64)


def _sigmoid(logits: Values) -> Values:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
