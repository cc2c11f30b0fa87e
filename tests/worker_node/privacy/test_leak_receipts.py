"""When a receipt is taken anew, what it says of who gets it, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from shared.errors import PolicyRefused, StorageError
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.recognising import Recognised
from tests.helpers.messages import made_up
from worker_node.data.shard import Shard
from worker_node.guarding.leak_receipts import Departure, LeakReceipts
from worker_node.guarding.rules.terms import LeakTerms
from worker_node.privacy.own_texts import OwnTexts
from worker_node.privacy.receipts import KEPT, MOST_BYTES, Figures, Receipt, ReceiptFile

PRIVATE, TUTORIAL = load_recipe("private"), load_recipe("tutorial")
ROWS = made_up(60, seed=5)
SHARD = Shard(train=tuple(ROWS[:40]), held_out=tuple(ROWS[40:]))


def leaving(seed: int, recipe: Recipe = TUTORIAL) -> Departure:
    numbers = np.random.default_rng(seed).standard_normal(recipe.parameters)
    return Departure("hospital", "a-run", 3, 9, recipe, "masked update", numbers)


def take(receipts: LeakReceipts, *departures: Departure) -> None:
    async def act() -> None:
        for one in departures:
            await receipts.take(one, SHARD)

    asyncio.run(act())


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many attacks there were, each of which finds nothing."""
    made: list[int] = []

    def attack(self: OwnTexts, numbers: np.ndarray) -> tuple[Recognised, Recognised]:
        made.append(len(numbers))
        return Recognised(1, 10, 1, 10, 0.5), Recognised(1, 10, 1, 10, 0.5)

    monkeypatch.setattr(OwnTexts, "attack", attack)
    return made


def test_an_update_that_is_asked_for_again_has_one_receipt_for_as_long_as_it_is_remembered(
    attacks: list[int],
) -> None:
    receipts = LeakReceipts()
    take(receipts, leaving(0), *(leaving(seed) for seed in range(1, 8)), leaving(0))
    assert len(attacks) == 8
    take(receipts, leaving(8), leaving(0))  # eight others since
    assert len(attacks) == 10
    take(receipts, leaving(8), leaving(7))
    assert len(attacks) == len(receipts.kept.newest) == 10


def test_two_who_ask_at_once_have_one_receipt(attacks: list[int]) -> None:
    receipts = LeakReceipts()

    async def act() -> None:
        await asyncio.gather(*(receipts.take(leaving(0), SHARD) for _ in range(3)))

    asyncio.run(act())
    assert len(attacks) == len(receipts.kept.newest) == 1


def test_another_recipe_is_asked_about_with_features_of_its_own() -> None:
    receipts = LeakReceipts()
    other = TUTORIAL.model_copy(update={"text": TUTORIAL.text.model_copy(update={"tokens": 20})})
    take(receipts, leaving(0), leaving(1, load_recipe("default")), leaving(2, other))
    assert len(receipts.kept.newest) == 3


def test_a_receipt_says_who_gets_what_of_which_round(attacks: list[int]) -> None:
    receipts = LeakReceipts()
    assert receipts.are_on
    assert not LeakReceipts(LeakTerms(receipts=False)).are_on
    before = datetime.now(UTC)
    take(receipts, leaving(0))
    (found,) = receipts.kept.newest
    assert (found.coordinator, found.run, found.round, found.rounds) == ("hospital", "a-run", 3, 9)
    assert (found.leaves, found.refused) == ("masked update", "")
    assert found.words.all == len({word for row in ROWS[:40] for word in words(row.text)})
    assert found.messages.all == 40
    assert before <= datetime.strptime(found.time, "%Y-%m-%dT%H:%M:%S.%f%z") <= datetime.now(UTC)


def words(text: str) -> list[str]:
    runs = "".join(letter if letter.isalpha() else " " for letter in text.lower()).split()
    return [run for run in runs if len(run) > 1]


@pytest.mark.parametrize("bound", [0.4, 0.39])
def test_a_receipt_that_cannot_be_kept_changes_nothing_of_what_may_leave(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bound: float,
) -> None:
    def attack(self: OwnTexts, numbers: np.ndarray) -> tuple[Recognised, Recognised]:
        return Recognised(50, 100, 10, 100, 0.9), Recognised(0, 100, 0, 100, 0.5)

    monkeypatch.setattr(OwnTexts, "attack", attack)
    kept = ReceiptFile(tmp_path / "gone" / "receipts.jsonl")
    receipts = LeakReceipts(LeakTerms(most_words=bound), kept)
    if bound < 0.4:  # 50 of 100, less 10 of 100: 0.4
        with pytest.raises(PolicyRefused) as caught:
            take(receipts, leaving(0))
        assert caught.value.rule == "leak.most_words"
    else:
        take(receipts, leaving(0))
    assert "gone" in caplog.text
    assert len(kept.newest) == 1


def figures(found: int, asked: int, everything: int, alarms: int = 0, others: int = 100) -> Figures:
    return Figures.of(Recognised(found, asked, alarms, others, 0.9), everything)


def test_figures_are_told_by_number_where_all_were_asked_about_and_else_by_share() -> None:
    assert figures(1234, 1500, 1500, 3).in_words("words") == (
        "1,234 of your 1,500 words (3 of 100 others are taken for yours)"
    )
    assert figures(500, 512, 4714, 13, 200).in_words("words") == (
        "98 of 100 of your 4,714 words (6 of 100 others are taken for yours)"
    )
    nothing = figures(5, 100, 1200, 5)
    assert (
        nothing.in_words("messages") == "none of your 1,200 messages that guessing would not find"
    )
    assert (nothing.advantage, nothing.is_chance) == (0.0, True)
    assert figures(80, 100, 100, 10).advantage == pytest.approx(0.7)


def test_the_newest_thousand_are_kept_and_a_file_beyond_the_bound_is_not_read(
    tmp_path: Path,
) -> None:
    kept = ReceiptFile()
    one = figures(80, 100, 100)
    for number in range(KEPT + 2):
        values = {"coordinator": "c", "run": "r", "rounds": 9, "leaves": "update", "words": one}
        kept.add(Receipt(time="t", round=number, messages=one, **values))  # type: ignore[arg-type]
    assert [found.round for found in kept.newest] == list(range(2, 1002))
    path = tmp_path / "receipts.jsonl"
    path.touch()
    ReceiptFile(path)
    with path.open("r+b") as file:
        file.truncate(4 * 2**20 + 1)
    assert MOST_BYTES == 4 * 2**20
    with pytest.raises(StorageError, match="larger than"):
        ReceiptFile(path)
