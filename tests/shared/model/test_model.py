"""The classifier: three ways through the recurrence that agree, and its state as a vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shared.model.classifier import (
    SpamGRU,
    build_model,
    initial_state,
    scanned,
    state_to_vector,
    vector_to_state,
)
from shared.model.gru_scan import scan
from shared.model.recipe import Recipe


def _assert_close(found: Any, expected: Any) -> None:
    """For float64, in which only a wrong formula is off."""
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


sizes = st.integers(1, 7)
options = st.fixed_dictionaries(
    {
        "embedding": sizes,
        "hidden": sizes,
        "directions": st.sampled_from([1, 2]),
        "pooling": st.sampled_from(["last", "max-mean"]),
        "skip_padding": st.booleans(),
    }
)


def _recipe(model: dict[str, object], tokens: int = 6, ngrams: int = 0) -> Recipe:
    text = {"tokens": tokens, "buckets": 23, "ngrams": ngrams, "ngram_buckets": 11}
    return Recipe.parse({"text": text, "model": model}, "here")


def _ids(recipe: Recipe, rows: int, seed: int) -> Tensor:
    """Rows of every length, the empty one too."""
    generator = np.random.default_rng(seed)
    words = generator.integers(1, 23, (rows, recipe.text.tokens))
    for row, padding in enumerate(generator.integers(0, recipe.text.tokens + 1, rows)):
        words[row, :padding] = 0
    features = generator.integers(0, 11, (rows, recipe.text.ngrams))
    return torch.from_numpy(np.concatenate([words, features], axis=1))


@settings(deadline=None)
@given(
    model=options, tokens=sizes, ngrams=st.integers(0, 3), rows=sizes, seed=st.integers(0, 2**31)
)
def test_the_cell_of_linear_layers_equals_the_fused_gru_in_logits_and_gradients(
    model: dict[str, object], tokens: int, ngrams: int, rows: int, seed: int
) -> None:
    recipe = _recipe(model, tokens, ngrams)
    torch.manual_seed(seed)
    network = build_model(recipe).double().eval()
    ids = _ids(recipe, rows, seed)

    fused, by_hand = network(ids), network.forward_cell(ids)
    _assert_close(fused, by_hand)
    parameters = list(network.parameters())
    expected = torch.autograd.grad(fused.sum(), parameters, allow_unused=True)
    found = torch.autograd.grad(by_hand.sum(), parameters, allow_unused=True)
    _assert_close(found, expected)


@settings(deadline=None)
@given(model=options, tokens=sizes, rows=sizes, seed=st.integers(0, 2**31))
def test_the_training_recurrence_equals_the_fused_gru_in_logits_and_gradients(
    model: dict[str, object], tokens: int, rows: int, seed: int
) -> None:
    recipe = _recipe(model, tokens)
    torch.manual_seed(seed)
    network = build_model(recipe).double().eval()
    ids = _ids(recipe, rows, seed)

    words, lengths = network.arrange(ids)
    states = scanned(words, network.embedding.weight, network.cells)
    found, expected = network.classify(states, lengths), network(ids)
    _assert_close(found, expected)
    parameters = list(network.parameters())
    _assert_close(
        torch.autograd.grad(found.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
    )


def test_the_scans_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(3)
    shapes = [(4, 2, 3, 6), (2, 6, 2), (2, 6)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    assert torch.autograd.gradcheck(scan, inputs)


def test_the_tutorials_model_is_torchs_own_embedding_gru_and_linear() -> None:
    recipe = _recipe({"embedding": 5, "hidden": 4})
    network = build_model(recipe).eval()
    ids = _ids(recipe, 8, 1)
    reference = nn.GRU(5, 4, batch_first=True)
    weights = {
        "weight_ih_l0": network.gru.input_gates.weight,
        "weight_hh_l0": network.gru.hidden_gates.weight,
        "bias_ih_l0": network.gru.input_gates.bias,
        "bias_hh_l0": network.gru.hidden_gates.bias,
    }
    reference.load_state_dict(weights)
    with torch.no_grad():
        last = reference(network.embedding(ids))[1][0]
        torch.testing.assert_close(network(ids), network.output(last).squeeze(1))


def test_skipped_padding_does_not_move_a_logit() -> None:
    model = {"embedding": 3, "hidden": 4, "directions": 2, "pooling": "max-mean"}
    short, long = (_recipe(model | {"skip_padding": True}, tokens) for tokens in (6, 60))
    network = build_model(short).double().eval()
    ids = _ids(short, 5, 2)
    padded = nn.functional.pad(ids, (54, 0))
    wider = build_model(long).double().eval()
    wider.load_state_dict(network.state_dict())

    _assert_close(wider(padded), network(ids))


def test_an_untrained_wide_part_says_nothing_and_a_padding_feature_never_does() -> None:
    recipe = _recipe({"embedding": 3, "hidden": 2}, ngrams=4)
    network = build_model(recipe).eval()
    ids = _ids(recipe, 5, 2)
    silent = network(ids)
    assert network.wide is not None
    with torch.no_grad():
        network.wide.weight[0] = 100.0

    words, lengths = network.arrange(ids[:, :6])
    alone = network.classify(scanned(words, network.embedding.weight, network.cells), lengths)
    torch.testing.assert_close(network(ids), alone)
    torch.testing.assert_close(silent, alone)


def test_a_state_goes_into_a_vector_and_back_to_the_bit() -> None:
    recipe = _recipe({"embedding": 3, "hidden": 2, "directions": 2}, ngrams=4)
    vector = initial_state(recipe, 1)
    network = SpamGRU(recipe)
    vector_to_state(network, vector)

    assert vector.dtype == np.float32
    assert np.array_equal(state_to_vector(network), vector)
    assert np.array_equal(vector[: 23 * 3].reshape(23, 3), network.embedding.weight.detach())


def test_a_models_vector_shares_no_memory_with_it() -> None:
    network = SpamGRU(_recipe({"embedding": 3, "hidden": 2}))
    vector = state_to_vector(network)
    kept = vector.copy()
    vector_to_state(network, np.zeros_like(vector))

    assert np.array_equal(vector, kept)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_vector_of_another_length_is_refused(change: int) -> None:
    recipe = _recipe({"embedding": 3, "hidden": 2})
    with pytest.raises(ValueError, match="the model needs"):
        vector_to_state(SpamGRU(recipe), np.zeros(recipe.parameters + change, np.float32))


def test_a_seed_draws_the_same_state_and_leaves_torchs_generator_alone() -> None:
    recipe = _recipe({"embedding": 3, "hidden": 2})
    before = torch.random.get_rng_state()
    one, same, other = (initial_state(recipe, seed) for seed in (4, 4, 5))

    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)
