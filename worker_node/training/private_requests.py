"""What the trainer does in a private run: sums of its rows, with noise, that may leave the node.

By the time that the node asks, the release stands in its ledger (worker_node/privacy/ledger.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.model.recipe import Recipe, TextRecipe
from shared.privacy.noisy_counts import NOISY, SENSITIVITY, exact_counts
from worker_node.training.noise import gaussian
from worker_node.training.private_step import Features, check_state, release

Labels = npt.NDArray[np.integer]
RowsOf = Callable[[str, TextRecipe], tuple[npt.NDArray[np.integer], Labels]]
"""Ids and labels of the "train" or "held_out" rows."""

_kept: dict[tuple[str, Recipe], tuple[Features, Labels]] = {}


def release_of(rows_of: RowsOf, request: dict[str, Any]) -> dict[str, Any]:
    """A round's clipped gradients, summed, with noise; see private_step.release."""
    began = time.perf_counter()
    recipe = Recipe.from_json(request["recipe"])
    features, labels = _features("train", recipe, rows_of)
    numbers = release(_state(request), features, labels, recipe, request["multiplier"])
    return _told(numbers, began)


def counts_of(rows_of: RowsOf, request: dict[str, Any]) -> dict[str, Any]:
    """Counts of held-out scores with noise, as shared/privacy/noisy_counts.py reads them."""
    began = time.perf_counter()
    recipe = Recipe.from_json(request["recipe"])
    features, labels = _features("held_out", recipe, rows_of)
    state = _state(request)
    check_state(state, recipe)
    numbers = exact_counts(features.logits(state, recipe.model.bias), labels)
    numbers[:NOISY] += gaussian(request["multiplier"] * SENSITIVITY, NOISY)
    return _told(numbers.view(np.uint64), began)


def forget_features() -> None:
    """Other rows have come."""
    _kept.clear()


def _features(part: str, recipe: Recipe, rows_of: RowsOf) -> tuple[Features, Labels]:
    if any(other != recipe for _, other in _kept):
        _kept.clear()
    if (part, recipe) not in _kept:
        ids, labels = rows_of(part, recipe.text)
        _kept[part, recipe] = Features.of(ids, recipe), labels
    return _kept[part, recipe]


def _state(request: dict[str, Any]) -> npt.NDArray[np.float32]:
    return np.frombuffer(request["state"], dtype="<f4")


def _told(numbers: npt.NDArray[np.uint64], began: float) -> dict[str, Any]:
    told = numbers.astype("<u8", copy=False).tobytes()
    return {"numbers": told, "seconds": time.perf_counter() - began}
