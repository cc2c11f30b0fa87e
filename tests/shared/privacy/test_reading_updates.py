"""Attacks on updates: they find what was put in, and in random numbers they find nothing."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.reading_updates import (
    Numbers,
    Rows,
    Update,
    _unlikely,
    split_words,
    words_of,
)
from shared.privacy.recognising import Recognised, auc, recognised
from tests.helpers.messages import made_up
from worker_node.training.private_step import Features, exact_sum

RECIPES = ["default", "tutorial", "private"]


def drawn(count: int, seed: int) -> list[str]:
    """Messages of words that no other one has."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(4 * count)]
    return [" ".join(words[4 * i : 4 * i + 4]) for i in range(count)]


OWN, STRANGE = drawn(60, 1), drawn(40, 2)


def moved_by(texts: list[str], recipe: Recipe) -> Numbers:
    """An update in which what these texts have moved, and nothing else."""
    rows = Rows.of(texts, recipe)
    numbers = np.zeros(recipe.parameters)
    if recipe.model.kind == "linear":
        np.add.at(numbers, rows.feature - recipe.text.buckets, rows.value)
        return numbers
    size, buckets = recipe.model.embedding, recipe.text.buckets
    for feature in np.unique(rows.feature):
        if feature < buckets:
            numbers[feature * size : (feature + 1) * size] = 1 + feature % 7
        else:
            numbers[buckets * size + feature - buckets] = 1 + feature % 5
    return numbers


@pytest.mark.parametrize("name", RECIPES)
def test_the_words_and_messages_of_an_update_are_told_from_others(name: str) -> None:
    recipe = load_recipe(name)
    update = Update(recipe, moved_by(OWN, recipe))
    words = [Rows.of_words(words_of(texts), recipe) for texts in (OWN, STRANGE)]
    assert auc(*(update.words(rows) for rows in words)) > 0.9
    own, others = (
        update.messages(Rows.of(texts, recipe), np.zeros(len(texts), np.int64))
        for texts in (OWN, STRANGE)
    )
    assert auc(own, others) > 0.95
    assert not recognised(own, others).is_chance


@pytest.mark.parametrize("name", RECIPES)
def test_of_an_update_in_which_everything_moved_nothing_is_told(name: str) -> None:
    recipe = load_recipe(name)
    numbers = np.random.default_rng(7).standard_normal(recipe.parameters)
    update = Update(recipe, numbers)
    words = (Rows.of_words(words_of(texts), recipe) for texts in (OWN, STRANGE))
    assert recognised(*map(update.words, words)).is_chance
    some = (Rows.of(texts, recipe) for texts in (OWN, STRANGE))
    scores = (update.messages(rows, np.zeros(rows.count, np.int64)) for rows in some)
    assert recognised(*scores).is_chance


def test_an_update_that_is_all_zeros_and_one_with_numbers_that_are_none_tell_nothing() -> None:
    recipe = load_recipe("tutorial")
    for value in (0.0, np.nan):
        update = Update(recipe, np.full(recipe.parameters, value, np.float32))
        assert not update.words(Rows.of_words(words_of(OWN), recipe)).any()


def test_an_update_of_another_size_is_an_error() -> None:
    recipe = load_recipe("tutorial")
    with pytest.raises(ValueError, match="shape"):
        Update(recipe, np.zeros(recipe.parameters - 1))


def test_a_message_pulls_a_private_sum_as_its_score_says() -> None:
    """The features that are looked for are those that the node adds up."""
    recipe = load_recipe("private")
    messages = made_up(30, seed=3)
    texts, labels = [one.text for one in messages], np.array([one.label for one in messages])
    features = Features.of(encode_all(texts, recipe.text), recipe)
    state = np.zeros(recipe.parameters, np.float32)
    gradient = exact_sum(state, features, labels, recipe)[: recipe.parameters].astype(float)
    scores = Update(recipe, gradient).messages(Rows.of(texts, recipe), labels)
    flipped = Update(recipe, gradient).messages(Rows.of(texts, recipe), 1 - labels)
    assert scores == pytest.approx(-flipped)
    rows = Rows.of(texts, recipe)
    assert (rows.row == features.row).all()
    assert (rows.feature - recipe.text.buckets == features.bucket).all()
    # the node divides by a length that does not know of features with one bucket
    assert rows.value == pytest.approx(features.value, rel=0.1)


def test_a_word_has_what_any_message_around_it_has() -> None:
    recipe = load_recipe("default")
    always = Rows.of_words(["voucher"], recipe)
    for text in ("a voucher for you", "2 CASH voucher today", "Voucher or not, see you at 7"):
        assert set(always.feature) <= set(Rows.of([text], recipe).feature)
    assert len(always.feature) > 5


def test_words_are_runs_of_letters_of_any_script() -> None:
    assert split_words("Ring 07700 Καλημέρα, it's a B") == ["ring", "καλημέρα", "it"]
    assert words_of(["b b now", "now Win"]) == ["now", "win"]


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    there, others = draw.integers(0, 9, 200) + 1.0, draw.integers(0, 9, 300).astype(float)
    labels = np.concatenate([np.ones(200), np.zeros(300)])
    expected = roc_auc_score(labels, np.concatenate([there, others]))
    assert auc(there, others) == pytest.approx(expected)
    assert recognised(there, others).auc == pytest.approx(expected)


def test_the_threshold_is_the_one_of_the_largest_advantage() -> None:
    found = recognised(np.array([3.0, 4, 5, 1]), np.array([0.0, 1, 2, 4]))
    assert found == Recognised(3, 4, 1, 4, found.auc)
    assert found.advantage == pytest.approx(0.5)


def test_chance_passes_for_more_once_in_ten_thousand_times_at_most() -> None:
    """2,000 draws of guessing: with a rate of 1e-4, 4 or more alarms come once in 18,000 times."""
    draw = np.random.default_rng(1)
    alarms = 0
    for _ in range(2000):
        there, others = draw.standard_normal(150), draw.standard_normal(100)
        alarms += not recognised(there, others).is_chance
    assert alarms < 4


def test_all_of_a_few_above_all_others_are_no_chance() -> None:
    others = np.arange(100.0)
    for few in (1, 2, 3):
        assert not recognised(np.full(few, 100.0), others).is_chance
        assert recognised(np.full(few, 60.0), others).is_chance


def test_a_small_difference_of_many_is_no_chance() -> None:
    draw = np.random.default_rng(2)
    assert not recognised(draw.standard_normal(500) + 0.6, draw.standard_normal(500)).is_chance


@pytest.mark.parametrize(
    "moved",
    [
        [],
        [0.0],
        [0.0, 0.0, 0.0],
        [3.0, 1.0, 2.0],
        [0.0, 2.0, 0.0, 1.0, 2.0, 2.0, 5e-324],
        [1.0, np.inf, np.inf, 0.0],
    ],
)
def test_how_unlikely_a_movement_is_counts_those_that_moved_less(moved: list[float]) -> None:
    expected = [
        -np.log1p(-sum(other < one for other in moved) / max(1, len(moved))) for one in moved
    ]
    assert _unlikely(np.array(moved)).tolist() == expected
