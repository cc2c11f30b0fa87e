"""The numbers of a private sum, read by hand: scales, weights, steps and losses."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from shared.model.recipe import Recipe, load_recipe
from shared.privacy.private_sum import EXTRA, GRID_BITS, MOST_ROWS, UNIT, PrivateSum, Scales

PRIVATE = load_recipe("private")
P = PRIVATE.parameters


def with_clip(clip: float) -> Recipe:
    privacy = PRIVATE.privacy.model_copy(update={"clip": clip})
    return PRIVATE.model_copy(update={"privacy": privacy})


@pytest.mark.parametrize("clip", [1e-3, 0.2, 1.0])
def test_a_message_moves_the_sum_by_its_clipped_gradient_and_a_tenth_for_rows_and_for_loss(
    clip: float,
) -> None:
    scales = Scales.of(with_clip(clip))
    units = Fraction(clip) * 2**24
    assert Fraction(scales.clip) == units
    assert scales.rows == round(units / 10)
    rounded = float(units) + math.sqrt(PRIVATE.text.ngrams) / 2  # each number by half a unit
    assert scales.sensitivity == pytest.approx(
        math.sqrt(rounded**2 + 2 * scales.rows**2), rel=1e-14
    )
    assert scales.sensitivity > float(units) * math.sqrt(1.02)
    assert (GRID_BITS, UNIT, EXTRA) == (24, 2.0**24, 3)


def test_a_hundred_owners_stay_within_the_ring() -> None:
    scales = Scales.of(with_clip(1.0))
    assert 100 * MOST_ROWS * max(scales.clip, scales.rows) < 2**63
    assert MOST_ROWS == 2**25


def summed(gradient: np.ndarray, rows: int, loss: int) -> PrivateSum:
    """As the ring has it: below 0 is above 2^63."""
    told = np.concatenate([gradient, [0, rows, loss]]).astype(np.int64)
    return PrivateSum.decode(told.view(np.uint64), PRIVATE)


def test_numbers_are_read_with_their_sign_and_their_own_unit() -> None:
    scales = Scales.of(PRIVATE)
    gradient = np.arange(P) - P // 2
    found = summed(gradient, 250 * scales.rows, -3 * scales.rows)
    assert found.gradient.shape == (P,)
    assert (found.gradient == gradient / 2**24).all()
    assert (found.rows, found.loss_sum) == (250.0, -3.0)


@pytest.mark.parametrize(
    ("rows", "weight"), [(-5000, 100), (0, 100), (99, 100), (100, 100), (101, 101), (250, 250)]
)
def test_a_sum_counts_for_its_rows_and_for_the_least_at_least(rows: int, weight: int) -> None:
    found = summed(np.zeros(P), rows * Scales.of(PRIVATE).rows, 0)
    assert PRIVATE.privacy.least_rows == 100
    assert found.weight(PRIVATE) == weight


def test_rows_are_rounded_to_the_nearest() -> None:
    unit = Scales.of(PRIVATE).rows
    assert summed(np.zeros(P), 250 * unit + unit // 3, 0).weight(PRIVATE) == 250
    assert summed(np.zeros(P), 251 * unit - unit // 3, 0).weight(PRIVATE) == 251


@pytest.mark.parametrize(("loss", "mean"), [(50, 0.25), (0, 0.0), (-50, 0.0), (400, 2.0)])
def test_a_loss_is_that_of_a_row_and_never_below_0(loss: int, mean: float) -> None:
    unit = Scales.of(PRIVATE).rows
    found = summed(np.zeros(P), 200 * unit, loss * unit).loss(PRIVATE)
    assert found == pytest.approx(mean)


@pytest.mark.parametrize(
    ("schedule", "number", "share"),
    [
        ("constant", 1, 1.0),
        ("constant", PRIVATE.federation.rounds, 1.0),
        ("cosine", 1, 1.0),
        ("cosine", 1 + PRIVATE.federation.rounds // 2, 0.5),
        ("cosine", 1 + PRIVATE.federation.rounds // 3, 0.75),
    ],
)
def test_a_step_goes_down_the_gradient_of_a_row_at_the_rate_of_its_round(
    schedule: str, number: int, share: float
) -> None:
    changed = {"learning_rate": 8.0, "schedule": schedule}
    recipe = PRIVATE.model_copy(update={"training": PRIVATE.training.model_copy(update=changed)})
    assert recipe.federation.rounds % 6 == 0
    told = np.concatenate([np.full(P, 2**24), [0, 200 * Scales.of(recipe).rows, 0]])
    found = PrivateSum.decode(told.astype(np.int64).view(np.uint64), recipe)
    base = np.full(P, 0.5, np.float32)
    state = found.step(base, recipe, number)
    assert state.dtype == np.float32
    assert state == pytest.approx(0.5 - share * 8.0 / 200)
    assert (base == 0.5).all()
