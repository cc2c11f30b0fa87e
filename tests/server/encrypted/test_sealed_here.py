"""A sealed session whose nodes are in this process: the scores are those of the plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.encrypted.sealed import SealedSecret, digits_of
from server.encrypted.sealed_scorer import SealedScorer, low_digits, rows_in_a_go
from server.encrypted.secret import SCALE, Secret
from shared.errors import UsageError
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import probabilities, scorer_of
from tests.helpers.nodes_here import sealed_here
from tests.helpers.pointers import write_recipe
from tests.helpers.sealed import context_of

Told = tuple[str, int, list[float]]
TOKENS, WORDS = 6, 512


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return load_recipe(write_recipe(tmp_path_factory.mktemp("recipe")))


def messages(rows: int) -> Any:
    ids = np.random.default_rng(rows).integers(0, WORDS, (rows, TOKENS))
    ids[0, :2] = 0, WORDS - 1
    return ids


def revealed(secret: Secret, first: int = 0) -> Any:
    """What the coordinator is told of logits that the owner opens."""
    assert isinstance(secret, SealedSecret)
    return secret.reveal(first)


@pytest.mark.parametrize("owner", ["bob", "anne", "dora"])
@pytest.mark.parametrize("tells", [True, False])
def test_scores_are_the_plain_models_whoever_owns_the_messages(
    recipe: Recipe, owner: str, tells: bool
) -> None:
    learned: list[Told] = []
    ids, state = messages(4), initial_state(recipe, 3) * np.float32(1.5)
    plain = probabilities(scorer_of(recipe, state).logits(ids))
    assert np.ptp(plain) > 0.01
    with sealed_here(
        ids, WORDS, context_of(owner=owner), tells, learned=lambda *one: learned.append(one)
    ) as us:
        found = SealedScorer(recipe, state, us).score(3)
        assert [one.id for one in us.holders] == ["bob", "anne"]
    ((whose, first, spam),) = learned
    assert (whose, first) == (owner, 0)
    assert np.abs(np.array(spam) - plain[:3]).max() < 0.005
    if tells:
        assert found is not None
        assert np.abs(found - spam).max() <= 0.0005 + 1e-9
    else:
        assert found is None


def test_a_long_list_is_scored_in_goes_that_fit_each_with_its_own_messages(recipe: Recipe) -> None:
    learned: list[Told] = []
    ids, state = messages(3), initial_state(recipe, 4) * np.float32(1.5)
    plain = probabilities(scorer_of(recipe, state).logits(ids))
    wide = 3 * recipe.model.hidden
    low = low_digits(WORDS, wide)
    opened = TOKENS * (low + WORDS // low * (wide + 1))
    fits_two = 16 * (WORDS * wide + 2 * opened)
    assert rows_in_a_go(opened, WORDS * wide, fits_two) == 2
    for most_bytes, places in ((fits_two, [0, 2]), (fits_two - 1, [0, 1, 2])):
        learned.clear()
        with sealed_here(
            ids, WORDS, most_bytes=most_bytes, learned=lambda *one: learned.append(one)
        ) as us:
            scorer = SealedScorer(recipe, state, us)
            found = scorer.score(3)
            sent = [max(one.link.sent) for one in us.workers]
        assert [first for _, first, _ in learned] == places
        assert found is not None
        assert np.abs(found - plain).max() < 0.006
        # room for what frames and seals add
        assert max(sent) < most_bytes + 4096


@pytest.mark.parametrize(("low", "which"), [(16, "low"), (16, "high"), (64, "low"), (64, "high")])
def test_words_are_shared_as_rows_that_choose_by_their_digits(low: int, which: str) -> None:
    ids, high = messages(12), WORDS // low
    digits = (ids[1:3] % low if which == "low" else ids[1:3] // low).ravel()
    number = low if which == "low" else high
    weights = (np.arange(number) - number / 2) / 8
    with sealed_here(ids, WORDS) as us:
        found = digits_of(us, range(1, 3), TOKENS, low, which)
        assert tuple(found.shape) == ((12, low) if which == "low" else (12, 1, high))
        chosen = found.chosen(Secret.share(us, weights.reshape(-1, 1)))
        assert tuple(chosen.shape) == ((12, 1) if which == "low" else (12, 1, 1))
        told = revealed(chosen.each(lambda part: part.reshape(12, 1), (12, 1)))
    assert told == pytest.approx(1 / (1 + np.exp(-weights[digits])), abs=0.0006)


@pytest.mark.parametrize(
    ("name", "x", "y", "product"),
    [
        ("mul", [[2.0], [-3.0]], [[0.5], [4.0]], [[1.0], [-12.0]]),
        ("mul", [[2.0], [-3.0]], [[0.5]], [[1.0], [-1.5]]),
        ("matmul", [[1.0, 2.0], [0.0, -1.0]], [[3.0], [0.25]], [[3.5], [-0.25]]),
    ],
)
def test_products_are_learned_by_the_owner_alone(name: str, x: Any, y: Any, product: Any) -> None:
    learned: list[Told] = []
    with sealed_here(messages(2), WORDS, learned=lambda *one: learned.append(one)) as us:
        first, second = (Secret.share(us, np.array(one)) for one in (x, y))
        found = first * second if name == "mul" else first @ second
        assert tuple(found.shape) == np.shape(product)
        with pytest.raises(UsageError, match="coordinator does not open"):
            found.open()
        told = revealed(found)
    ((_, place, spam),) = learned
    assert place == 0
    expected = 1 / (1 + np.exp(-np.array(product)[:, 0]))
    assert spam == pytest.approx(expected, abs=4 / SCALE)
    assert told == pytest.approx(expected, abs=0.0011)


def test_scores_are_of_the_place_that_was_asked_for() -> None:
    learned: list[Told] = []
    with sealed_here(messages(4), WORDS, learned=lambda *one: learned.append(one)) as us:
        revealed(Secret.share(us, np.array([[1.0]])), 3)
    assert [first for _, first, _ in learned] == [3]


def test_a_score_that_is_not_told_is_none_and_a_thousandth_is_told(tmp_path: Path) -> None:
    for tells in (True, False):
        with sealed_here(messages(2), WORDS, tells=tells) as us:
            found = revealed(Secret.share(us, np.array([[-30.0]])))
        if tells:
            assert found is not None
            assert found.tolist() == [0.0]
        else:
            assert found is None
