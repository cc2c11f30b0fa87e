"""The classifier in numpy alone against the one of torch."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model import scorer
from shared.model.classifier import build_model, initial_state, vector_to_state
from shared.model.layout import layout
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import Scorer, probabilities
from tests.helpers.messages import made_up

SHAPES = [
    {"directions": directions, "pooling": pooling, "skip_padding": skip}
    for directions, pooling, skip in product((1, 2), ("last", "max-mean"), (True, False))
]


def _recipe(model: dict[str, Any], ngrams: int) -> Recipe:
    text = {"tokens": 6, "buckets": 29, "ngrams": ngrams, "ngram_buckets": 13}
    return Recipe.parse({"text": text, "model": {"embedding": 4, "hidden": 3, **model}}, "here")


def _state(recipe: Recipe, seed: int, spread: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, recipe.parameters).astype(np.float32)


def _of_torch(recipe: Recipe, state: np.ndarray, ids: np.ndarray) -> np.ndarray:
    model = build_model(recipe).eval()
    vector_to_state(model, state)
    with torch.inference_mode():
        logits: np.ndarray = model(torch.from_numpy(ids.astype(np.int64))).numpy()
    return logits


@pytest.mark.parametrize("model", SHAPES, ids=str)
@pytest.mark.parametrize("ngrams", [0, 5])
def test_names_and_shapes_are_those_of_the_state(model: dict[str, Any], ngrams: int) -> None:
    recipe = _recipe(model, ngrams)
    there = {name: tuple(one.shape) for name, one in build_model(recipe).state_dict().items()}
    assert list(layout(recipe).items()) == list(there.items())


@pytest.mark.parametrize("model", SHAPES, ids=str)
@pytest.mark.parametrize("ngrams", [0, 5])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 40), few=st.booleans())
def test_logits_are_those_of_torch(
    model: dict[str, Any], ngrams: int, seed: int, rows: int, few: bool
) -> None:
    recipe = _recipe(model, ngrams)
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 13, (rows, recipe.text.width))
    lengths = generator.integers(0, 7, rows)
    ids[:, :6] += 1
    ids[:, :6] *= np.arange(6) >= 6 - lengths[:, None]
    state = _state(recipe, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "_TABLE_ROWS", 64 if few else 1)
        patch.setattr(scorer, "AT_ONCE", 16)
        found = Scorer(recipe, state).logits(ids)
    np.testing.assert_allclose(found, _of_torch(recipe, state, ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["tutorial", "default"])
@pytest.mark.parametrize("rows", [1, 300])
def test_scores_of_messages_are_the_same_to_the_digits_that_are_shown(name: str, rows: int) -> None:
    recipe = load_recipe(name)
    state = initial_state(recipe, 1) + _state(recipe, 2, 0.05)
    ids = encode_all([message.text for message in made_up(rows)], recipe.text)
    found = probabilities(Scorer(recipe, state).logits(ids))
    expected = torch.sigmoid(torch.from_numpy(_of_torch(recipe, state, ids))).numpy()
    assert np.abs(found - expected).max() < 1e-6
    assert np.ptp(expected) > 0.01 or rows == 1


def test_no_rows_have_no_logits_and_a_state_of_another_length_is_refused() -> None:
    recipe = _recipe({}, 5)
    assert Scorer(recipe, _state(recipe, 1)).logits(np.zeros((0, 11), np.int32)).shape == (0,)
    with pytest.raises(ValueError, match="the model needs"):
        Scorer(recipe, _state(recipe, 1)[1:])


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("column", [0, 5, 6, 10])
def test_an_id_that_the_recipe_does_not_have_is_refused(rows: int, column: int) -> None:
    recipe = _recipe({}, 5)
    ids = np.ones((rows, 11), np.int32)
    most = (recipe.text.buckets if column < 6 else recipe.text.ngram_buckets) - 1
    ids[-1, column] = most
    assert np.isfinite(Scorer(recipe, _state(recipe, 1)).logits(ids)).all()
    ids[-1, column] = most + 1
    with pytest.raises(IndexError):
        Scorer(recipe, _state(recipe, 1)).logits(ids)


def test_rows_of_features_alone_and_rows_without_any_are_read_in_the_order_they_came() -> None:
    recipe = _recipe({"skip_padding": True}, 21)
    generator = np.random.default_rng(3)
    ids = generator.integers(1, 13, (300, 27))
    ids[:, 6:] *= generator.integers(0, 2, (300, 21))  # features need not stand side by side
    ids[:, 6:] *= np.arange(21) < generator.integers(0, 22, 300)[:, None]
    ids[::3, :6] = 0
    ids[::5] = 0
    state = _state(recipe, 4)
    found = Scorer(recipe, state).logits(ids)
    np.testing.assert_allclose(found, _of_torch(recipe, state, ids), rtol=1e-5, atol=1e-5)


def test_the_largest_logits_are_certain_and_no_warning() -> None:
    chances = probabilities(np.array([-1e30, -800, 0, 800, 1e30], np.float32))
    assert chances.tolist() == [0, 0, 0.5, 1, 1]
