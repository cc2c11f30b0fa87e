"""What an update tells, a feature after the other: rows, scores, and the same numbers elsewhere."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict

import numpy as np
import pytest

from shared.model.linear_scorer import place_weights
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.reading_updates import Rows, Update

DEFAULT, TUTORIAL, PRIVATE = (load_recipe(one) for one in ("default", "tutorial", "private"))
TEXTS = ["win a win prize now", "", "see you at 7, see you", "WIN cash 12345"]


def by_hand(text: str, recipe: Recipe) -> dict[int, float]:
    """Feature to value: its bucket, those of spelling behind all those of words."""
    ids, tokens = encode_all([text], recipe.text)[0], recipe.text.tokens
    is_linear = recipe.model.kind == "linear"
    values: dict[int, float] = defaultdict(float)
    for place, one in enumerate(map(int, ids)):
        if one and place >= tokens:
            weight = float(place_weights(recipe)[place - tokens]) if is_linear else 1.0
            values[recipe.text.buckets + one] += weight
        elif one and not is_linear:
            values[one] = 1.0
    if is_linear:
        length = math.hypot(*values.values())
        return {feature: value / length for feature, value in values.items()}
    return dict.fromkeys(values, 1.0)


@pytest.mark.parametrize("recipe", [DEFAULT, TUTORIAL, PRIVATE])
def test_rows_have_each_feature_of_their_text_once(recipe: Recipe) -> None:
    rows = Rows.of(TEXTS, recipe)
    expected = [by_hand(text, recipe) for text in TEXTS]
    places = [(row, one) for row, values in enumerate(expected) for one in sorted(values)]
    assert list(zip(rows.row.tolist(), rows.feature.tolist(), strict=True)) == places
    assert rows.value == pytest.approx([expected[row][one] for row, one in places])
    assert rows.count == 4
    assert rows.sizes.tolist() == [max(1, len(values)) for values in expected]
    assert len(expected[0]) > 2


@pytest.mark.parametrize("recipe", [DEFAULT, TUTORIAL, PRIVATE])
def test_words_have_what_they_have_between_either_of_two_pairs_of_others(recipe: Recipe) -> None:
    words = ["voucher", "see you", "win"]
    rows = Rows.of_words(words, recipe)
    expected = [
        by_hand(f"qqq {word} zzz", recipe).keys()
        & by_hand(f"KJX 12345 {word} VHW 67890123", recipe).keys()
        for word in words
    ]
    places = [(row, one) for row, found in enumerate(expected) for one in sorted(found)]
    assert list(zip(rows.row.tolist(), rows.feature.tolist(), strict=True)) == places
    assert rows.count == 3
    weights = set(place_weights(recipe).tolist()) if recipe is PRIVATE else {1.0}
    assert set(rows.value.tolist()) <= weights


def test_numbers_of_entries_are_summed_and_the_least_is_found_by_row() -> None:
    rows = Rows(np.array([0, 0, 2, 2, 2]), np.arange(5), np.ones(5), 4)
    numbers = np.array([3.0, 2.0, 7.0, -1.0, 5.0])
    assert rows.sums(numbers).tolist() == [5.0, 0.0, 11.0, 0.0]
    assert rows.least(numbers).tolist() == [2.0, 0.0, -1.0, 0.0]
    assert rows.sizes.tolist() == [2.0, 1.0, 3.0, 1.0]
    none = Rows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), 2)
    assert none.least(np.zeros(0)).tolist() == [0.0, 0.0]


SIZE, BUCKETS = DEFAULT.model.embedding, DEFAULT.text.buckets
WORDS = {3: 5.0, 4: 13.0, 9: 26.0}
"""Rows of the table of words, by how far they moved."""
SPELLING = {2: 0.5, 5: 0.25, 6: 0.25, 8: 2.0}


def moved() -> Update:
    numbers = np.zeros(DEFAULT.parameters, np.float32)
    for feature, far in WORDS.items():
        numbers[feature * SIZE], numbers[feature * SIZE + 1] = far * 5 / 13, -far * 12 / 13
    for feature, far in SPELLING.items():
        numbers[BUCKETS * SIZE + feature] = -far
    numbers[-1] = 77.0  # behind the tables, which says nothing of a feature
    return Update(DEFAULT, numbers)


def far(feature: int) -> float:
    """How far a feature moved, in medians of its own kind, at most 1."""
    kind = WORDS if feature < BUCKETS else SPELLING
    distance = kind.get(feature % BUCKETS if feature >= BUCKETS else feature, 0.0)
    return math.tanh(distance / statistics.median(kind.values()))


def unlikely(feature: int) -> float:
    kind, count = (WORDS, BUCKETS) if feature < BUCKETS else (SPELLING, DEFAULT.text.ngram_buckets)
    distance = kind.get(feature if feature < BUCKETS else feature - BUCKETS, 0.0)
    if not distance:
        return 0.0
    less = count - sum(other >= distance for other in kind.values())
    return -math.log1p(-less / count)


FEATURES = [
    [3],  # the least of words
    [4, 9, BUCKETS + 2],
    [BUCKETS + 5, BUCKETS + 8],  # no word at all
    [3, 7, BUCKETS + 8],  # a word that did not move excludes it
    [3, BUCKETS + 7],  # so does spelling
    [],
]


def rows_of(features: list[list[int]]) -> Rows:
    row = [number for number, some in enumerate(features) for _ in some]
    every = [one for some in features for one in some]
    return Rows(np.array(row), np.array(every), np.ones(len(every)), len(features))


def test_a_word_is_as_likely_as_its_least_moved_feature_of_each_kind_and_none_unmoved() -> None:
    expected = [
        unlikely(3),
        2 * unlikely(4) + unlikely(BUCKETS + 2),
        2 * unlikely(BUCKETS + 5),
        0.0,
        0.0,
        0.0,
    ]
    assert moved().words(rows_of(FEATURES)) == pytest.approx(expected, rel=1e-6)


def test_a_word_speaks_however_little_where_all_words_moved() -> None:
    """Of an update under a mask everything did, and half of all as far as this one or farther."""
    numbers = np.zeros(DEFAULT.parameters)
    numbers[: BUCKETS * SIZE : SIZE] = np.arange(1, BUCKETS + 1)
    half, quarter = BUCKETS // 2, BUCKETS // 4
    found = Update(DEFAULT, numbers).words(rows_of([[half], [quarter], [quarter, half], [0]]))
    expected = [math.log(2), math.log(4 / 3), 2 * math.log(4 / 3), 0.0]
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_a_message_is_the_share_of_features_that_moved_and_a_little_of_how_far(label: int) -> None:
    expected = [
        sum((far(one) > 0) + 0.001 * far(one) for one in some) / max(1, len(some))
        for some in FEATURES
    ]
    found = moved().messages(rows_of(FEATURES), np.full(len(FEATURES), label))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_sums_word_is_its_pull_by_its_length_and_a_message_pulls_by_its_label() -> None:
    numbers = np.zeros(PRIVATE.parameters, np.float32)
    numbers[[2, 5, 7]] = 3.0, -4.0, np.nan
    update, buckets = Update(PRIVATE, numbers), PRIVATE.text.buckets
    row = np.array([0, 0, 1, 1, 2])
    feature = buckets + np.array([2, 5, 5, 9, 7])
    rows = Rows(row, feature, np.array([0.5, 2.0, 1.0, 2.0, 1.0]), 4)
    pulled = [0.5 * 3 - 2 * 4, -4.0, 0.0, 0.0]
    lengths = [math.hypot(0.5, 2), math.hypot(1, 2), 1.0, 1.0]
    words = [abs(one) / length for one, length in zip(pulled, lengths, strict=True)]
    assert update.words(rows) == pytest.approx(words)
    told = update.messages(rows, np.array([0, 1, 1, 0]))
    assert told == pytest.approx([pulled[0], -pulled[1], 0.0, 0.0])


def test_the_same_numbers_elsewhere_stay_among_words_or_among_spelling_and_go_together() -> None:
    update = moved()
    count = len(update._far)
    every, none = np.arange(count), np.zeros(count, np.int64)
    rows = Rows(every, every, np.ones(count), count)  # a row for each feature
    mine = update.messages(rows, none)
    one, other = (
        update.shuffled(np.random.default_rng(seed), every).messages(rows, none) for seed in (1, 2)
    )
    for found in (one, other):
        for part in (slice(BUCKETS), slice(BUCKETS, None)):
            assert sorted(found[part]) == sorted(mine[part])
            assert (found[part] != mine[part]).any()
    assert (one != other).any()
    shuffled = update.shuffled(np.random.default_rng(1), every)
    assert ((shuffled._far > 0) == (shuffled._unlikely > 0)).all()
    # of a sum, the numbers of words are none, and stay so
    numbers = np.arange(PRIVATE.parameters, dtype=np.float32)
    summed = Update(PRIVATE, numbers)
    places = PRIVATE.text.buckets
    pull = summed.shuffled(np.random.default_rng(1), np.arange(len(summed._pull)))._pull
    assert not pull[:places].any()
    assert sorted(pull[places:]) == numbers.tolist()
    assert (pull[places:] != numbers).any()
    assert (summed._pull[places:] == numbers).all()


@pytest.mark.parametrize("recipe", [DEFAULT, PRIVATE])
def test_of_what_is_asked_alone_each_number_comes_as_often_as_where_all_are_shuffled(
    recipe: Recipe,
) -> None:
    """Each from its own kind, none twice, and in a half of the places half of the numbers."""
    update, words = Update(recipe, np.zeros(recipe.parameters, np.float32)), recipe.text.buckets
    count = len(update._pull if recipe is PRIVATE else update._far)
    numbers = np.arange(1.0, count + 1)
    update._pull = update._far = numbers
    update._unlikely = -numbers
    asked = np.arange(count)[::2]
    is_word, draw = asked < words, np.random.default_rng(1)
    drawn = np.zeros((40, len(asked)))
    for one in drawn:
        other = update.shuffled(draw, asked)
        moved = other._pull if recipe is PRIVATE else other._far
        assert not np.delete(moved, asked).any()
        if recipe is not PRIVATE:
            assert (other._unlikely == -moved).all()
        one[:] = moved[asked]
        assert len(np.unique(one)) == len(asked)
        assert (one[is_word] <= words).all()
        assert (one[~is_word] > words).all()
    assert (update._far == numbers).all()
    often = np.bincount(drawn.astype(int).ravel(), minlength=count + 1)[1:]
    for part in (often[:words], often[words:]):
        assert part.mean() == pytest.approx(20, rel=0.03)
        assert part.std() == pytest.approx(10**0.5, rel=0.25)  # forty times by even chance
