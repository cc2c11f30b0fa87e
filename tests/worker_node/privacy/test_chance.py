"""What a masked update tells is chance, also of few messages that are all alike."""

from __future__ import annotations

import numpy as np
import pytest

from shared.model.recipe import Recipe, load_recipe
from shared.privacy.reading_updates import Update
from tests.helpers.secure_rounds import shards
from worker_node.privacy.own_texts import OwnTexts

MASKS = 40


def masked(recipe: Recipe, number: int) -> np.ndarray:
    """As a masked vector is: uniform, whatever is behind it."""
    draw = np.random.default_rng(number)
    return draw.integers(-(2**62), 2**62, recipe.parameters).astype(np.float64)


@pytest.mark.parametrize("name", ["tutorial", "private"])
def test_no_mask_of_many_tells_of_messages_made_of_the_same_few_words(name: str) -> None:
    """They share most features, so that chance lifts all of them at once, or none."""
    recipe = load_recipe(name)
    for shard in shards(["anne", "bob"]).values():
        texts = OwnTexts.of(shard, recipe)
        assert texts.are_invented
        for number in range(MASKS):
            words, messages = texts.attack(masked(recipe, number))
            assert words.is_chance
            assert messages.is_chance


def test_a_shuffled_update_has_the_same_numbers_and_tells_of_nothing() -> None:
    recipe = load_recipe("tutorial")
    texts = OwnTexts.of(shards(["bob"])["bob"], recipe)
    moved = np.zeros(recipe.parameters)
    size = recipe.model.embedding
    for place in texts.words.feature[texts.words.feature < recipe.text.buckets]:
        moved[place * size : (place + 1) * size] = 1.0
    found, _ = texts.attack(moved)
    assert (found.is_chance, found.found) == (False, found.of)
    update = Update(recipe, moved)
    other = update.shuffled(np.random.default_rng(1), texts.words.feature)
    assert sorted(other.words(texts.words)) != sorted(update.words(texts.words))
    assert other.words(texts.words).mean() < 0.2 * update.words(texts.words).mean()
