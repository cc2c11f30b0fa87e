"""Blocks of features and the linear model that weighs them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import UsageError
from shared.model.blocks import block_sizes, blocks_of
from shared.model.classifier import build_any_model, build_model, initial_state, vector_to_state
from shared.model.layout import layout
from shared.model.recipe import BUILT_IN, FEWEST_PLACES, Recipe, load_recipe
from shared.model.scorer import scorer_of
from shared.model.text import encode

PRIVATE = load_recipe("private")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_each_block_has_its_places_whatever_the_others_have(text: str) -> None:
    row = np.array(encode(text, PRIVATE.text))
    assert row.shape == (PRIVATE.text.width,)
    start = PRIVATE.text.tokens
    features = blocks_of(text)
    for block, size in block_sizes(PRIVATE.text.ngrams).items():
        part = row[start : start + size]
        wanted = min(size, len(set(features[block])))
        assert (part != 0).sum() == wanted
        assert not part[wanted:].any()
        start += size
    assert start == len(row)


def test_a_long_message_pushes_no_block_out() -> None:
    row = np.array(encode("word " * 500 + "£1000", PRIVATE.text))[PRIVATE.text.tokens :]
    style, classes = row[:3], row[3:32]
    assert style.all()
    assert classes.any()  # the money, though it comes last


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_what_predicts_gives_the_models_logits_and_layout(texts: list[str]) -> None:
    model = build_any_model(PRIVATE)
    state = np.random.default_rng(1).normal(size=PRIVATE.parameters).astype(np.float32)
    vector_to_state(model, state)
    rows = [encode(text.encode(errors="replace").decode(), PRIVATE.text) for text in texts]
    with torch.inference_mode():
        theirs = model(torch.tensor(rows)).numpy()
    ours = scorer_of(PRIVATE, state).logits(np.array(rows))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    shapes = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    assert layout(PRIVATE) == shapes


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=5))
def test_no_message_moves_the_logit_beyond_the_largest_weight(texts: list[str]) -> None:
    """A row has length 1, but for collisions within it."""
    model = build_any_model(PRIVATE)
    ids = torch.tensor([encode(text, PRIVATE.text) for text in texts])
    logits = model(ids)
    gradient = torch.autograd.grad(logits.sum(), list(model.parameters()))[0]
    assert gradient.norm() <= len(texts) * 1.5
    assert (logits == PRIVATE.model.bias).all()  # all weights are 0 at first


def test_the_start_is_no_function_of_the_seed() -> None:
    assert (initial_state(PRIVATE, 1) == initial_state(PRIVATE, 2)).all()
    assert not initial_state(PRIVATE, 1).any()
    with pytest.raises(ValueError, match="no GRU"):
        build_model(PRIVATE)


@pytest.mark.parametrize("name", ["private", "private-strict", "private-owner"])
def test_private_recipes_are_private_and_survive_the_wire(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.is_private
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.parameters == initial_state(recipe, 0).size == 16384


def test_only_those_that_say_so_are_private() -> None:
    private = {path.stem for path in BUILT_IN.glob("*.toml") if load_recipe(path.stem).is_private}
    assert private == {"private", "private-strict", "private-owner"}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("privacy", "epsilon", 0.0),
        ("model", "kind", "gru"),
        ("text", "cleaning", "unicode-words"),
        ("text", "ngrams", FEWEST_PLACES - 1),
        ("federation", "aggregation", "median"),
        ("privacy", "epsilon", 65.0),
        ("privacy", "clip", 0.0),
        ("privacy", "delta", 0.5),
    ],
)
def test_half_a_private_recipe_is_none(table: str, key: str, value: object) -> None:
    tables = PRIVATE.model_dump()
    tables[table][key] = value
    with pytest.raises(UsageError, match="not a valid recipe"):
        Recipe.parse(tables, "mine.toml")
