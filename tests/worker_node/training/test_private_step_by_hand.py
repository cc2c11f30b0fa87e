"""A private round's numbers, a row after the other in plain Python; bounds; and what is refused."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from shared.model.linear_scorer import place_weights
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.private_sum import MOST_ROWS, Scales
from worker_node.training import private_step
from worker_node.training.private_step import Features, as_one_owner, exact_sum, release

PRIVATE, OWNER = load_recipe("private"), load_recipe("private-owner")
TOKENS = PRIVATE.text.tokens
UNIT = 2**24


def with_clip(clip: float) -> Recipe:
    privacy = PRIVATE.privacy.model_copy(update={"clip": clip})
    return PRIVATE.model_copy(update={"privacy": privacy})


def drawn_ids() -> np.ndarray:
    """Rows of a few features, some twice in a row, one without any, and words that do not count."""
    draw = np.random.default_rng(3)
    ids = np.zeros((9, PRIVATE.text.width), np.int32)
    ids[:, :TOKENS] = draw.integers(0, 90, (9, TOKENS))
    for row in range(8):
        places = TOKENS + draw.choice(PRIVATE.text.ngrams, 5 + row, replace=False)
        ids[row, places] = draw.integers(1, 40, 5 + row)
    ids[0, -1] = PRIVATE.text.ngram_buckets - 1
    return ids


def weight_of(place: int) -> float:
    """By the recipe's blocks, whose weights are those of the features in them."""
    return float(place_weights(PRIVATE)[place])


def by_hand(row: np.ndarray) -> dict[int, float]:
    """Bucket to value: weights by the length of all, added up where features share one."""
    there = [(int(one), weight_of(place)) for place, one in enumerate(row[TOKENS:]) if one]
    length = math.sqrt(sum(weight**2 for _, weight in there))
    values: dict[int, float] = defaultdict(float)
    for bucket, weight in there:
        values[bucket] += weight / length
    return values


def test_features_are_those_of_each_row_by_the_length_of_its_weights() -> None:
    ids = drawn_ids()
    found = Features.of(ids, PRIVATE)
    expected = [by_hand(row) for row in ids]
    assert any(math.hypot(*values.values()) > 1.01 for values in expected)  # by collisions
    places = [(row, one) for row, values in enumerate(expected) for one in sorted(values)]
    assert list(zip(found.row.tolist(), found.bucket.tolist(), strict=True)) == places
    assert found.value == pytest.approx([expected[row][one] for row, one in places])
    lengths = [math.hypot(*values.values()) if values else 0.0 for values in expected]
    assert found.length == pytest.approx(lengths)


@pytest.mark.parametrize("clip", [0.3, 1.0])
def test_a_sum_is_each_rows_features_by_its_clipped_error_and_its_loss_up_to_1(clip: float) -> None:
    recipe, ids = with_clip(clip), drawn_ids()
    state = np.random.default_rng(4).normal(0, 3, PRIVATE.parameters).astype(np.float32)
    labels = np.array([1, 0, 1, 0, 1, 0, 1, 0, 1])
    gradient, loss, clipped, large = defaultdict[int, int](int), 0, 0, 0
    unit = round(0.1 * clip * UNIT)
    for row, label in zip(ids, labels, strict=True):
        values = by_hand(row)
        logit = PRIVATE.model.bias + sum(one * float(state[at]) for at, one in values.items())
        error = 1 / (1 + math.exp(-logit)) - label
        most = clip / math.hypot(*values.values()) if values else 1.0
        clipped += abs(error) > most
        error = max(-most, min(error, most))
        for at, one in values.items():
            gradient[at] += round(error * one * UNIT)
        own = math.log1p(math.exp(logit)) - logit * label
        large += own > 1
        loss += math.floor(min(own, 1.0) * unit)
    assert 0 < clipped < 9
    assert 0 < large < 9
    found = exact_sum(state, Features.of(ids, recipe), labels, recipe)
    assert found.dtype == np.int64
    expected = np.zeros(PRIVATE.parameters)
    expected[list(gradient)] = list(gradient.values())
    assert np.abs(found[:-3] - expected).max() <= 1  # of a unit, where a half is rounded
    assert (found[:-3] != 0).sum() > 30
    assert (found[-3], found[-2]) == (0, 9 * unit)
    assert abs(found[-1] - loss) <= 9


def test_a_part_is_rounded_to_the_nearest_unit_and_a_loss_down() -> None:
    recipe, ids = with_clip(1.0), drawn_ids()[:1]
    features = Features.of(ids, recipe)
    state = np.zeros(PRIVATE.parameters, np.float32)
    found = exact_sum(state, features, np.array([0]), recipe)
    error = 1 / (1 + math.exp(-PRIVATE.model.bias))
    for bucket, value in by_hand(ids[0]).items():
        assert abs(found[bucket] - error * value * UNIT) <= 0.5 + 1e-6
    exact = math.log1p(math.exp(PRIVATE.model.bias)) * round(0.1 * UNIT)
    assert found[-1] == math.floor(exact) < exact


def test_no_rows_add_nothing() -> None:
    features = Features.of(np.zeros((0, PRIVATE.text.width), np.int32), PRIVATE)
    state = np.zeros(PRIVATE.parameters, np.float32)
    assert not exact_sum(state, features, np.zeros(0, np.int64), PRIVATE).any()


def test_so_many_rows_are_taken_and_one_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_ROWS == 2**25
    monkeypatch.setattr(private_step, "MOST_ROWS", 9)
    state = np.zeros(PRIVATE.parameters, np.float32)
    ids, labels = drawn_ids(), np.zeros(10, np.int64)
    exact_sum(state, Features.of(ids, PRIVATE), labels[:9], PRIVATE)
    with pytest.raises(ValueError, match="takes 9 rows"):
        exact_sum(state, Features.of(np.concatenate([ids, ids[:1]]), PRIVATE), labels, PRIVATE)


@pytest.mark.parametrize("harm", ["shorter", "longer", "a table", "infinite"])
def test_what_is_no_state_is_refused_also_where_there_are_no_rows(harm: str) -> None:
    size = PRIVATE.parameters
    state = {
        "shorter": np.zeros(size - 1, np.float32),
        "longer": np.zeros(size + 1, np.float32),
        "a table": np.zeros((1, size), np.float32),
        "infinite": np.full(size, np.inf, np.float32),
    }[harm]
    with pytest.raises(ValueError, match=r"not one of 16,384 finite numbers"):
        release(state, [], PRIVATE, 1.0)


def test_an_owner_is_cut_to_the_clip_towards_0_and_has_the_mean_loss_of_the_rows() -> None:
    assert OWNER.privacy.owner_clip == 0.4
    numbers = np.zeros(OWNER.parameters + 3, np.int64)
    numbers[:3] = (3 * UNIT, -4 * UNIT, 1)  # 5 long, which becomes 0.4
    numbers[-3:] = (0, 10**9, 7_000_006)
    found = as_one_owner(numbers, 7, OWNER)
    assert found.dtype == np.int64
    assert 0.24 * UNIT - 2 < found[0] < 0.24 * UNIT
    assert -0.32 * UNIT < found[1] < -0.32 * UNIT + 2
    assert found[2] == 0
    assert found[-3:].tolist() == [0, round(0.1 * 0.4 * UNIT), 1_000_000]
    assert as_one_owner(np.zeros_like(numbers), 0, OWNER)[-3:].tolist() == [
        0,
        round(0.1 * 0.4 * UNIT),
        0,
    ]


@pytest.mark.parametrize("recipe", [PRIVATE, OWNER])
def test_a_release_is_all_parts_added_up_with_noise_of_the_size_that_was_asked_for(
    recipe: Recipe,
) -> None:
    """Of 16,384 numbers the deviation is within 4 % of the true one but in 1 of 10^12 cases."""
    ids, labels = drawn_ids(), np.array([1, 0, 1, 0, 1, 0, 1, 0, 1])
    state = np.random.default_rng(4).normal(0, 3, recipe.parameters).astype(np.float32)
    parts = [(Features.of(ids[rows], recipe), labels[rows]) for rows in (slice(4), slice(4, 9))]
    exact = exact_sum(state, Features.of(ids, recipe), labels, recipe)
    if recipe is OWNER:
        exact = as_one_owner(exact, 9, recipe)
    sensitivity = Scales.of(recipe).sensitivity
    told = release(state, parts, recipe, 2.0)
    noise = told.view(np.int64) - exact
    assert told.dtype == np.uint64
    assert noise[:-3].std() / (2 * sensitivity) == pytest.approx(1, abs=0.04)
    has_none = [True, recipe is OWNER, False]  # owners are counted exactly
    assert (noise[-3:] == 0).tolist() == has_none
    quiet = release(state, parts, recipe, 1001 / sensitivity).view(np.int64)
    assert np.abs(quiet - exact).max() < 9.5 * 1001


def test_an_owner_is_shorter_than_the_clip_also_where_that_is_whole_and_may_have_one_row() -> None:
    half = OWNER.privacy.model_copy(update={"owner_clip": 0.5})
    numbers = np.zeros(OWNER.parameters + 3, np.int64)
    numbers[4], numbers[-1] = 100 * UNIT, 7
    found = as_one_owner(numbers, 1, OWNER.model_copy(update={"privacy": half}))
    assert found[4] == UNIT // 2 - 1
    assert found[-1] == 7
