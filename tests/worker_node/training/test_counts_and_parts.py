"""What the trainer does once in a private run and what again, and the noise that counts leave with.

Rows are ids without a feature: of a state of zeros each has the recipe's bias as its logit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shared.model.recipe import Recipe, TextRecipe, load_recipe
from worker_node.training import private_requests
from worker_node.training.private_requests import counts_of, forget_features, release_of
from worker_node.training.private_step import Features

PRIVATE = load_recipe("private")
OF_OWNERS = PRIVATE.model_copy(
    update={"privacy": PRIVATE.privacy.model_copy(update={"unit": "owner", "owner_clip": 1.0})}
)
OTHER = PRIVATE.model_copy(update={"privacy": PRIVATE.privacy.model_copy(update={"clip": 0.3})})
UNIT = 2**24
HAM_BIN, SPAM_BIN = 1, 8  # -3 is between -5 and -2.5, in the second bin of seven of each class
TOLD = 78  # seven bins of each class, and 64 numbers that are noise alone


class Ids:
    """Rows without features, which remember how many of them were asked for at once."""

    def __init__(self, rows: int, width: int) -> None:
        self.rows, self.width, self.at_once = rows, width, list[int]()

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self.at_once.append(len(index))
        return np.zeros((len(index), self.width), np.int32)


class Shard:
    """So many ham and spam in each part. asked: for which part, every time."""

    def __init__(self, ham: int, spam: int) -> None:
        self.labels = np.array([0] * ham + [1] * spam, np.uint8)
        self.asked: list[str] = []
        self.ids: list[Ids] = []

    def rows(self, part: str, text: TextRecipe) -> Any:
        self.asked.append(part)
        self.ids.append(Ids(len(self.labels), text.width))
        return self.ids[-1], self.labels


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    forget_features()
    yield
    forget_features()


def request(multiplier: float, recipe: Recipe = PRIVATE, state: float = 0.0) -> dict[str, Any]:
    numbers = np.full(recipe.parameters, state, "<f4").tobytes()
    return {"state": numbers, "recipe": recipe.to_json(), "multiplier": multiplier}


def counted(shard: Shard, asked: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(counts_of(shard.rows, asked)["numbers"], "<i8") / UNIT


@pytest.mark.parametrize(("recipe", "length"), [(PRIVATE, 1), (OF_OWNERS, 8)])
def test_every_number_that_a_count_tells_has_its_own_noise_of_the_units_size(
    recipe: Recipe, length: int
) -> None:
    """78 numbers: their deviation is within 40 % of the true one but in 1 of 2 million cases."""
    told = counted(Shard(40, 30), request(500.0, recipe))
    exact = np.zeros(len(told))
    exact[[HAM_BIN, SPAM_BIN]] = (40, 30) if length == 1 else (0, 0)  # 8 of 4,000 is nothing
    noise = (told - exact)[:TOLD]
    assert 0.6 < noise.std() / (500 * length) < 1.4
    assert len(set(noise)) == TOLD
    assert not told[TOLD:].any()


def test_of_an_owner_spam_counts_fourfold_and_all_is_cut_to_the_length_of_eight_messages() -> None:
    told = counted(Shard(30, 10), request(0.0005, OF_OWNERS))
    expected = np.zeros(len(told))
    expected[[HAM_BIN, SPAM_BIN]] = 8 * 30 / 50, 8 * 40 / 50  # 30 and 4 * 10 are of length 50
    assert told == pytest.approx(expected, abs=0.1)
    plain = counted(Shard(30, 10), request(0.004))
    assert plain[[HAM_BIN, SPAM_BIN]] == pytest.approx([30, 10], abs=0.1)


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("answer", [counts_of, release_of])
def test_a_state_without_finite_numbers_is_refused_whether_there_are_rows_or_not(
    answer: Any, rows: int
) -> None:
    with pytest.raises(ValueError, match="finite numbers"):
        answer(Shard(rows, rows).rows, request(1.0, state=np.inf))


def test_four_thousand_and_ninety_six_rows_are_looked_at_together() -> None:
    shard = Shard(4090, 7)
    counted(shard, request(1.0))
    assert shard.ids[0].at_once == [4096, 1]


@pytest.mark.parametrize(("rows", "times"), [(32_768, 1), (32_769, 3)])
def test_so_many_rows_have_their_features_kept_and_one_more_has_none(
    monkeypatch: pytest.MonkeyPatch, rows: int, times: int
) -> None:
    monkeypatch.setattr(Features, "of", lambda ids, recipe: Nothing(len(ids)))
    shard = Shard(rows, 0)
    for _ in range(3):
        assert counted(shard, request(1.0))[HAM_BIN] == pytest.approx(rows, abs=10)
    assert len(shard.asked) == times


class Nothing:
    """Features of rows that have none."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def logits(self, state: np.ndarray, bias: float) -> np.ndarray:
        return np.full(self.rows, bias)


def test_features_of_one_recipe_are_kept_of_both_parts_and_another_recipe_has_its_own() -> None:
    shard = Shard(3, 2)
    for _ in range(2):
        release_of(shard.rows, request(1.0))
        counts_of(shard.rows, request(1.0))
    assert shard.asked == ["train", "held_out"]
    counts_of(shard.rows, request(1.0, OTHER))
    assert shard.asked == ["train", "held_out", "held_out"]
    # kept for both, memory would add up
    assert {recipe for _, recipe in private_requests._kept} == {OTHER}
    release_of(shard.rows, request(1.0))
    assert shard.asked == ["train", "held_out", "held_out", "train"]


def test_how_long_it_took_is_told() -> None:
    shard, began = Shard(3, 2), time.perf_counter()
    for answer in (counts_of, release_of):
        assert 0 <= answer(shard.rows, request(1.0))["seconds"] <= time.perf_counter() - began
