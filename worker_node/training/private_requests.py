"""What the trainer does in a private run: sums of its rows, with noise, that may leave the node.

By the time that the node asks, the release stands in its ledger (worker_node/privacy/ledger.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.model.recipe import Recipe, TextRecipe
from shared.privacy.noisy_counts import (
    NOISY,
    counts_as_one_owner,
    exact_counts,
    sensitivity_of,
)
from shared.secure_aggregation.contents import EVALUATION_NUMBERS
from worker_node.training.encoded_rows import EncodedRows
from worker_node.training.noise import gaussian
from worker_node.training.private_step import Features, check_state, release

Labels = npt.NDArray[np.integer]
RowsOf = Callable[[str, TextRecipe], tuple[EncodedRows, Labels]]
"""Ids and labels of the "train" or "held_out" rows."""
Part = tuple[Features, Labels]

AT_ONCE = 4096
"""Rows whose features are found together."""
KEPT_ROWS = 32_768
"""With more rows, features are found anew each time: those of one take some 5 kB."""

_kept: dict[tuple[str, Recipe], list[Part]] = {}


def release_of(rows_of: RowsOf, request: dict[str, Any]) -> dict[str, Any]:
    """A round's clipped gradients, summed, with noise; see private_step.release."""
    began = time.perf_counter()
    recipe = Recipe.from_json(request["recipe"])
    parts = _parts("train", recipe, rows_of)
    numbers = release(_state(request), parts, recipe, request["multiplier"])
    return _told(numbers, began)


def counts_of(rows_of: RowsOf, request: dict[str, Any]) -> dict[str, Any]:
    """Counts of held-out scores with noise, as shared/privacy/noisy_counts.py reads them."""
    began = time.perf_counter()
    recipe = Recipe.from_json(request["recipe"])
    state = _state(request)
    check_state(state, recipe)
    numbers = np.zeros(EVALUATION_NUMBERS, np.int64)
    for features, labels in _parts("held_out", recipe, rows_of):
        numbers += exact_counts(features.logits(state, recipe.model.bias), labels)
    unit = recipe.privacy.unit
    if unit == "owner":
        numbers = counts_as_one_owner(numbers)
    numbers[:NOISY] += gaussian(request["multiplier"] * sensitivity_of(unit), NOISY)
    return _told(numbers.view(np.uint64), began)


def forget_features() -> None:
    """Other rows have come."""
    _kept.clear()


def _parts(part: str, recipe: Recipe, rows_of: RowsOf) -> Iterable[Part]:
    """All rows of a part of the shard, some at a time."""
    if any(other != recipe for _, other in _kept):
        _kept.clear()
    if (part, recipe) in _kept:
        return _kept[part, recipe]
    ids, labels = rows_of(part, recipe.text)
    found = _found(ids, labels, recipe)
    if len(labels) > KEPT_ROWS:
        return found
    _kept[part, recipe] = list(found)
    return _kept[part, recipe]


def _found(ids: EncodedRows, labels: Labels, recipe: Recipe) -> Iterator[Part]:
    for start in range(0, len(labels), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(labels)))
        yield Features.of(ids[rows], recipe), labels[rows].astype(np.int64)


def _state(request: dict[str, Any]) -> npt.NDArray[np.float32]:
    return np.frombuffer(request["state"], dtype="<f4")


def _told(numbers: npt.NDArray[np.uint64], began: float) -> dict[str, Any]:
    told = numbers.astype("<u8", copy=False).tobytes()
    return {"numbers": told, "seconds": time.perf_counter() - began}
