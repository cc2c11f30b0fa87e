"""A round of unit "owner": what one owner, and one message of an owner, can add to its sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.private_sum import EXTRA, UNIT, PrivateSum, Scales
from tests.helpers.messages import made_up
from tests.worker_node.training.test_private_step import state_of, texts
from worker_node.training.private_step import Features, as_one_owner, exact_sum, release

OWNER = load_recipe("private-owner")
Rows = list[tuple[str, int]]
messages = st.lists(st.tuples(texts, st.integers(0, 1)), max_size=6)
states = st.sampled_from(["zero", "small", "large", "huge"])


def clipped_to(clip: float, owner_clip: float) -> Recipe:
    privacy = OWNER.privacy.model_copy(update={"clip": clip, "owner_clip": owner_clip})
    return OWNER.model_copy(update={"privacy": privacy})


def added(rows: Rows, kind: str, recipe: Recipe) -> np.ndarray:
    ids = encode_all([text for text, _ in rows], recipe.text)
    labels = np.array([label for _, label in rows], np.int64)
    numbers = exact_sum(state_of(kind), Features.of(ids, recipe), labels, recipe)
    return as_one_owner(numbers, len(rows), recipe)


def length(moved: np.ndarray) -> int:
    """As whole numbers: a float could hide a unit."""
    return math.isqrt(sum(int(one) ** 2 for one in moved))


@settings(max_examples=60, deadline=None)
@given(
    messages,
    st.integers(1, 400),
    states,
    st.sampled_from([(1e-3, 1e-3), (0.2, 0.4), (1.0, 1.0), (1e-3, 100.0)]),
)
def test_no_owner_adds_more_than_the_sensitivity(
    rows: Rows, times: int, kind: str, clips: tuple[float, float]
) -> None:
    recipe = clipped_to(*clips)
    # the number of owners has no noise, and hangs on no row
    moved = added(rows * times, kind, recipe) - added([], kind, recipe)
    assert length(moved) <= Scales.of(recipe).sensitivity
    assert added(rows, kind, recipe)[1 - EXTRA] == added([], kind, recipe)[1 - EXTRA] > 0


@settings(max_examples=60, deadline=None)
@given(
    messages,
    texts,
    st.integers(0, 1),
    states,
    st.sampled_from([(1e-3, 1e-3), (0.2, 0.2), (0.2, 0.4), (1.0, 1.0)]),
)
def test_no_message_changes_more_than_an_owner_adds(
    rows: Rows, text: str, label: int, kind: str, clips: tuple[float, float]
) -> None:
    """So that the noise which hides an owner hides each of the messages."""
    recipe = clipped_to(*clips)
    moved = added([*rows, (text, label)], kind, recipe) - added(rows, kind, recipe)
    assert length(moved) <= Scales.of(recipe).sensitivity


def test_who_has_many_messages_adds_no_more_than_who_has_some() -> None:
    rows = [(one.text, one.label) for one in made_up(200)]
    few, many = (added(rows[:count], "small", OWNER)[:-EXTRA] for count in (20, 200))
    bound = OWNER.privacy.owner_clip * UNIT
    assert np.linalg.norm(few) == pytest.approx(bound, rel=1e-5)
    assert np.linalg.norm(many) == pytest.approx(bound, rel=1e-5)


def test_what_is_short_enough_is_left_as_it_is() -> None:
    recipe = clipped_to(0.2, 100.0)
    rows = made_up(20)
    ids = encode_all([one.text for one in rows], recipe.text)
    labels = np.array([one.label for one in rows])
    numbers = exact_sum(state_of("small"), Features.of(ids, recipe), labels, recipe)
    assert (as_one_owner(numbers, 20, recipe)[:-EXTRA] == numbers[:-EXTRA]).all()


def released(recipe: Recipe, rows: Rows, multiplier: float, parts: int = 1) -> np.ndarray:
    state = np.zeros(recipe.parameters, np.float32)
    found = []
    for number in range(parts):
        some = rows[number::parts]
        features = Features.of(encode_all([text for text, _ in some], recipe.text), recipe)
        found.append((features, np.array([label for _, label in some], np.int64)))
    return release(state, found, recipe, multiplier).view(np.int64)


@pytest.mark.parametrize("owner_clip", [0.2, 0.4, 10.0])
def test_the_noise_is_that_of_an_owner_and_a_larger_clip_has_more(owner_clip: float) -> None:
    """Beyond these bounds lies a share of 10^-12 of perfect noise."""
    recipe = clipped_to(0.2, owner_clip)
    rows = [(one.text, one.label) for one in made_up(20)]
    noise = released(recipe, rows, 2.0) - added(rows, "zero", recipe)
    asked = 2.0 * Scales.of(recipe).sensitivity
    assert asked >= 2.0 * owner_clip * UNIT
    assert (noise[-EXTRA], noise[1 - EXTRA]) == (0, 0)
    assert noise[:-EXTRA].std() / asked == pytest.approx(1, abs=0.04)
    assert 0 != abs(noise[-1]) < 8 * asked


def test_an_owner_is_bounded_as_a_whole_however_many_parts_the_rows_come_in() -> None:
    rows = [(one.text, one.label) for one in made_up(60)]
    tiny = 1001 / Scales.of(OWNER).sensitivity
    whole, pieces = (released(OWNER, rows, tiny, parts) for parts in (1, 7))
    assert np.abs(whole - pieces).max() < 12 * 1001 * 2**0.5
    assert np.linalg.norm(pieces[:-EXTRA]) < 1.1 * Scales.of(OWNER).owner


def test_owners_are_counted_exactly_and_a_step_is_their_mean() -> None:
    rows = [(one.text, one.label) for one in made_up(60)]
    tiny = 1001 / Scales.of(OWNER).sensitivity
    three = np.sum([released(OWNER, rows, tiny) for _ in range(3)], axis=0).view(np.uint64)
    one = released(OWNER, rows, tiny).view(np.uint64)
    found, alone = PrivateSum.decode(three, OWNER), PrivateSum.decode(one, OWNER)
    assert (found.rows, found.weight(OWNER), alone.weight(OWNER)) == (3, 3, 1)
    base = np.zeros(OWNER.parameters, np.float32)
    steps = [each.step(base, OWNER, 1) for each in (found, alone)]
    np.testing.assert_allclose(steps[0], steps[1], atol=12.5 * 12 * 1001 * 2 / UNIT)
    # of a sigmoid of the bias: some are spam
    assert 0 < found.loss(OWNER) == pytest.approx(alone.loss(OWNER), abs=1e-2)


def test_an_owner_without_rows_adds_noise_and_one_owner() -> None:
    told = released(OWNER, [], 3.0)
    assert PrivateSum.decode(told.view(np.uint64), OWNER).rows == 1
    assert told[:-EXTRA].std() > 0
