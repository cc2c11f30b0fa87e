"""A private round at a node: what one message can add, and what the model makes of the sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.classifier import build_any_model, initial_state, vector_to_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.private_sum import EXTRA, UNIT, PrivateSum, Scales
from tests.helpers.messages import made_up
from worker_node.training.private_step import Features, exact_sum, release

RECIPE = load_recipe("private")
texts = st.one_of(
    st.text(max_size=300),
    st.sampled_from([one.text for one in made_up(30)]),
    st.just("a" * 3000),
    st.just(""),
)
states = st.sampled_from(["zero", "small", "large", "huge"])


def state_of(kind: str) -> np.ndarray:
    scale = {"zero": 0.0, "small": 0.5, "large": 1e6, "huge": 3e38}[kind]
    drawn = np.random.default_rng(3).uniform(-1, 1, RECIPE.parameters)
    return (scale * drawn).astype(np.float32)


def summed(messages: list[tuple[str, int]], kind: str, recipe: Recipe = RECIPE) -> np.ndarray:
    ids = encode_all([text for text, _ in messages], recipe.text)
    labels = np.array([label for _, label in messages], np.int64)
    return exact_sum(state_of(kind), Features.of(ids, recipe), labels, recipe)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(texts, st.integers(0, 1)), max_size=6),
    texts,
    st.integers(0, 1),
    states,
    st.sampled_from([1e-3, 0.2, 1.0]),
)
def test_no_message_adds_more_than_the_sensitivity(
    others: list[tuple[str, int]], text: str, label: int, kind: str, clip: float
) -> None:
    privacy = RECIPE.privacy.model_copy(update={"clip": clip})
    recipe = RECIPE.model_copy(update={"privacy": privacy})
    moved = summed([*others, (text, label)], kind, recipe) - summed(others, kind, recipe)
    # as whole numbers: a float could hide a unit
    assert math.isqrt(sum(int(one) ** 2 for one in moved)) <= Scales.of(recipe).sensitivity


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(texts, st.integers(0, 1)), min_size=1, max_size=6), states, st.randoms())
def test_the_sum_has_no_order(messages: list[tuple[str, int]], kind: str, random: object) -> None:
    shuffled = list(messages)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert (summed(messages, kind) == summed(shuffled, kind)).all()
    parts = [summed([one], kind) for one in messages]
    assert (summed(messages, kind) == np.sum(parts, axis=0)).all()


@given(st.lists(texts, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_the_trainer_and_the_saved_model_agree_on_logits(found: list[str]) -> None:
    ids = encode_all(found, RECIPE.text)
    state = state_of("small")
    model = build_any_model(RECIPE).eval()
    vector_to_state(model, state)
    with torch.inference_mode():
        theirs = model(torch.from_numpy(ids).long()).numpy()
    ours = Features.of(ids, RECIPE).logits(state, RECIPE.model.bias)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_torchs_where_nothing_is_clipped() -> None:
    privacy = RECIPE.privacy.model_copy(update={"clip": 1.0})
    recipe = RECIPE.model_copy(update={"privacy": privacy})
    rows = made_up(40)
    ids, labels = encode_all([one.text for one in rows], recipe.text), [one.label for one in rows]
    features = Features.of(ids, recipe)
    # rows that are longer than 1, by collisions, are clipped to it
    kept = features.length <= 1.0
    model = build_any_model(recipe)
    vector_to_state(model, state_of("small"))
    wanted = torch.tensor(labels, dtype=torch.float32)[kept]
    logits = model(torch.from_numpy(ids).long()[kept])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    torch.autograd.backward(loss)
    (weights,) = model.parameters()
    assert weights.grad is not None
    ours = exact_sum(
        state_of("small"), Features.of(ids[kept], recipe), np.array(labels)[kept], recipe
    )
    np.testing.assert_allclose(ours[:-EXTRA] / UNIT, weights.grad.numpy(), atol=2e-5)


def test_a_release_has_the_noise_that_was_asked_for_and_a_larger_clip_has_more() -> None:
    """Beyond these bounds lies a share of 10^-12 of perfect noise."""
    rows = made_up(20)
    labels = np.array([one.label for one in rows])
    for clip in (0.1, 0.8):
        privacy = RECIPE.privacy.model_copy(update={"clip": clip})
        recipe = RECIPE.model_copy(update={"privacy": privacy})
        features = Features.of(encode_all([one.text for one in rows], recipe.text), recipe)
        state = np.zeros(recipe.parameters, np.float32)
        told = release(state, [(features, labels)], recipe, 2.0).view(np.int64)
        noise = told - exact_sum(state, features, labels, recipe)
        assert noise[-EXTRA] == 0
        asked = 2.0 * Scales.of(recipe).sensitivity
        assert noise[:-EXTRA].std() / asked == pytest.approx(1, abs=0.04)
        assert abs(noise[-2]) < 8 * asked
        assert noise[-2] != 0 != noise[-1]


def test_no_two_releases_have_the_same_noise() -> None:
    ids = encode_all(["win a prize now"], RECIPE.text)
    features, label = Features.of(ids, RECIPE), np.array([1])
    state = np.zeros(RECIPE.parameters, np.float32)
    one, other = (release(state, [(features, label)], RECIPE, 3.0) for _ in range(2))
    assert (one[:-EXTRA] != other[:-EXTRA]).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_state_without_finite_numbers_is_refused_whatever_the_rows(wrong: float) -> None:
    state = np.zeros(RECIPE.parameters, np.float32)
    state[7] = wrong
    for found in ([], ["hello"]):
        features = Features.of(encode_all(found, RECIPE.text), RECIPE)
        with pytest.raises(ValueError, match="finite numbers"):
            exact_sum(state, features, np.zeros(len(found), np.int64), RECIPE)


def test_a_run_learns_from_rows_that_differ_enough() -> None:
    rows, test = made_up(3000, seed=1), made_up(200, seed=2)
    features = Features.of(encode_all([one.text for one in rows], RECIPE.text), RECIPE)
    labels = np.array([one.label for one in rows])
    state = initial_state(RECIPE, 0)
    for number in range(1, 61):
        numbers = release(state, [(features, labels)], RECIPE, 5.0)
        state = PrivateSum.decode(numbers, RECIPE).step(state, RECIPE, number)
    held_out = Features.of(encode_all([one.text for one in test], RECIPE.text), RECIPE)
    right = (held_out.logits(state, RECIPE.model.bias) > 0) == [one.label for one in test]
    assert right.mean() > 0.95
