"""Rows that are encoded when they are used train and score as rows that were encoded before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, TextRecipe, load_recipe
from tests.helpers.messages import made_up
from worker_node.training import encoded_rows, local_training
from worker_node.training.encoded_rows import EncodedRows
from worker_node.training.local_training import logits, train

RECIPE = load_recipe("default")
MESSAGES = made_up(70)
TEXTS = [message.text for message in MESSAGES]
LABELS = np.array([message.label for message in MESSAGES])


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the encoder was given."""
    numbers: list[int] = []

    def counted(texts: Sequence[str], recipe: TextRecipe) -> np.ndarray:
        numbers.append(len(texts))
        return encode_all(texts, recipe)

    monkeypatch.setattr(encoded_rows, "encode_all", counted)
    return numbers


def _limited(batches: int) -> Recipe:
    training = RECIPE.training.model_copy(update={"max_batches": batches, "batch_size": 4})
    return RECIPE.model_copy(update={"training": training})


@pytest.mark.parametrize("kept_bytes", [0, encoded_rows.KEPT_BYTES])
@pytest.mark.parametrize("batches", [3, 0])
def test_the_model_and_its_logits_have_the_same_bits(kept_bytes: int, batches: int) -> None:
    recipe = _limited(batches)
    state = initial_state(recipe, 1)
    before = encode_all(TEXTS, recipe.text)
    rows = EncodedRows(TEXTS, recipe.text, kept_bytes)
    expected = train(state, before, LABELS, recipe, seed=2)
    for _ in range(2):
        found = train(state, rows, LABELS, recipe, seed=2)
        assert (found.batches, found.loss) == (expected.batches, expected.loss)
        assert np.array_equal(found.state, expected.state)
    assert np.array_equal(
        logits(expected.state, rows, recipe), logits(expected.state, before, recipe)
    )


def test_only_rows_that_a_round_uses_are_encoded_and_once_where_they_are_kept(
    encoded: list[int],
) -> None:
    recipe = _limited(3)
    state = initial_state(recipe, 1)
    rows = EncodedRows(TEXTS, recipe.text)
    train(state, rows, LABELS, recipe, seed=2)
    assert 0 < sum(encoded) <= 3 * 4
    first = sum(encoded)
    train(state, rows, LABELS, recipe, seed=2)
    assert sum(encoded) == first


def test_rows_that_do_not_fit_the_bound_are_encoded_each_time(encoded: list[int]) -> None:
    bound = 4 * RECIPE.text.width * (len(TEXTS) - 1)
    rows = EncodedRows(TEXTS, RECIPE.text, bound)
    index = np.array([5, 5, 0])
    expected = encode_all([TEXTS[row] for row in index], RECIPE.text)
    for _ in range(2):
        assert np.array_equal(rows[index], expected)
    assert encoded == [3, 3]
    kept = EncodedRows(TEXTS, RECIPE.text, bound + 4 * RECIPE.text.width)
    for _ in range(2):
        assert np.array_equal(kept[index], expected)
    assert encoded[2:] == [2]


def test_what_is_handed_out_is_nobody_elses() -> None:
    rows = EncodedRows(TEXTS, RECIPE.text)
    rows[np.array([1])][:] = 0
    assert np.array_equal(rows[np.array([1])], encode_all(TEXTS[1:2], RECIPE.text))


def test_many_rows_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    state = initial_state(RECIPE, 1)
    whole = logits(state, encode_all(TEXTS, RECIPE.text), RECIPE)
    monkeypatch.setattr(local_training, "_ENCODED_AT_ONCE", 16)
    parts = logits(state, EncodedRows(TEXTS, RECIPE.text, 0), RECIPE)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)
    assert len(logits(state, EncodedRows([], RECIPE.text), RECIPE)) == 0
