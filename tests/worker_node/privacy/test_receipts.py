"""Leak receipts: what an owner's node notes of each update before it leaves."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from shared.errors import NodeFailed, PolicyRefused, StorageError
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.reading_updates import Rows
from shared.privacy.recognising import Recognised
from tests.helpers.messages import made_up
from tests.helpers.running import run
from worker_node.data.shard import Message, Shard
from worker_node.guarding.leak_receipts import Departure, LeakReceipts
from worker_node.guarding.rules.terms import LeakTerms
from worker_node.privacy import receipts as receipts_module
from worker_node.privacy.own_texts import FEWEST, MOST, OwnTexts
from worker_node.privacy.receipts import Figures, Receipt, ReceiptFile, read_receipts
from worker_node.training.local_training import train

TUTORIAL = load_recipe("tutorial")
ROWS = [
    Message(one.label, f"{one.text} {'abcdefghij'[place % 10]}{'klmnopqrst'[place // 10 % 10]}x")
    for place, one in enumerate(made_up(120, seed=5))
]
SHARD = Shard(train=tuple(ROWS[:90]), held_out=tuple(ROWS[90:]))
SURE = Figures.of(Recognised(90, 90, 1, 100, 0.99), 90)
CHANCE = Figures.of(Recognised(50, 90, 50, 100, 0.51), 1200)


def receipt(number: int, words: Figures = SURE, messages: Figures = CHANCE) -> Receipt:
    return Receipt(
        time="2026-11-27T23:00:00.000000Z",
        coordinator="hospital",
        run="a-run",
        round=number,
        rounds=9,
        leaves="update",
        words=words,
        messages=messages,
    )


def trained(shard: Shard, recipe: Recipe = TUTORIAL) -> np.ndarray:
    """The update of a real training, (P,)."""
    state = initial_state(recipe, 1)
    ids = encode_all([row.text for row in shard.train], recipe.text)
    labels = np.array([row.label for row in shard.train])
    return (train(state, ids, labels, recipe, seed=1).state - state).astype(np.float64)


def departure(numbers: np.ndarray, recipe: Recipe = TUTORIAL, number: int = 1) -> Departure:
    leaves = "noisy sum" if recipe.is_private else "update"
    return Departure("hospital", "a-run", number, 9, recipe, leaves, numbers)  # type: ignore[arg-type]


def take(receipts: LeakReceipts, *all_of_them: Departure, shard: Shard = SHARD) -> None:
    async def one_after_another() -> None:
        for one in all_of_them:
            await receipts.take(one, shard)

    asyncio.run(one_after_another())


def test_a_trained_update_tells_of_the_rows_and_random_numbers_do_not() -> None:
    receipts = LeakReceipts()
    noise = np.random.default_rng(3).standard_normal(TUTORIAL.parameters)
    take(receipts, departure(trained(SHARD)), departure(noise, number=2))
    told, nothing = receipts.kept.newest
    assert (told.round, told.coordinator, told.leaves) == (1, "hospital", "update")
    assert told.words.found > 0.8 * told.words.asked
    assert (told.words.is_chance, told.words.all) == (False, told.words.asked)
    assert told.messages.all == 90
    assert nothing.words.is_chance
    assert nothing.messages.is_chance
    assert "nothing that the attack finds" in nothing.in_words()


@pytest.mark.parametrize("rows", [1, 2])
def test_who_has_few_rows_and_none_held_out_is_told_of_them_as_well(rows: int) -> None:
    shard = Shard(train=(Message(1, "WIN a prize: zyzzyva"), Message(0, "dinner at ours"))[:rows])
    receipts = LeakReceipts()
    take(receipts, departure(trained(shard)), shard=shard)
    (told,) = receipts.kept.newest
    assert told.words.others >= FEWEST
    assert told.messages.others >= FEWEST
    assert not told.words.is_chance
    assert told.messages.found == told.messages.all == rows


def test_words_and_messages_that_are_asked_about_are_bounded_and_others_are_not_the_owners() -> (
    None
):
    train_rows = [Message(0, f"word{chr(97 + i % 26)}{chr(97 + i // 26)} hi") for i in range(676)]
    shard = Shard(train=tuple(train_rows), held_out=(*train_rows[:5], Message(0, "elsewhere")))
    texts = OwnTexts.of(shard, TUTORIAL)
    assert (texts.words.count, texts.messages.count) == (MOST, MOST)
    assert (texts.all_words, texts.all_messages) == (677, 676)
    assert texts.other_messages.count == FEWEST  # of the held-out ones, five are training rows too


def test_more_than_the_owner_allows_stays_here_by_rule_and_tells_no_number() -> None:
    for rule in ("most_words", "most_messages"):
        receipts = LeakReceipts(LeakTerms.model_validate({rule: 0.05}))
        leaving = departure(trained(SHARD))
        for _ in range(2):  # asked for again, it is refused again, with one receipt
            with pytest.raises(PolicyRefused) as refused:
                take(receipts, leaving)
        assert refused.value.rule == f"leak.{rule}"
        assert not any(character.isdigit() for character in refused.value.words)
        (kept,) = receipts.kept.newest
        assert kept.refused == rule
        assert f"it stayed here (rule {rule})" in kept.in_words()


def test_what_tells_less_leaves() -> None:
    receipts = LeakReceipts(LeakTerms(most_words=0.05, most_messages=0.05))
    noise = np.random.default_rng(4).standard_normal(TUTORIAL.parameters)
    take(receipts, departure(noise))
    assert [one.refused for one in receipts.kept.newest] == [""]


def test_a_private_sum_is_never_refused_for_what_it_tells() -> None:
    """Whether it comes would tell of the rows without noise; here there is none, so all is told."""
    recipe = load_recipe("private")
    rows = Rows.of([row.text for row in SHARD.train], recipe)
    numbers = np.zeros(recipe.parameters)
    np.add.at(numbers, rows.feature - recipe.text.buckets, rows.value)
    receipts = LeakReceipts(LeakTerms(most_words=0.01, most_messages=0.01))
    take(receipts, departure(numbers, recipe))
    (kept,) = receipts.kept.newest
    assert kept.words.advantage > 0.01
    assert kept.refused == ""


def test_of_a_private_run_each_tenth_round_has_one_and_the_first_and_the_last() -> None:
    recipe = load_recipe("private")
    draw = np.random.default_rng(6)
    receipts = LeakReceipts()
    for number in range(1, 24):
        numbers = draw.standard_normal(recipe.parameters)
        leaving = Departure("hospital", "a-run", number, 23, recipe, "noisy sum", numbers)
        take(receipts, leaving)
    assert [one.round for one in receipts.kept.newest] == [1, 10, 20, 23]


def test_what_cannot_be_attacked_leaves_but_not_where_the_owner_sets_a_bound() -> None:
    wordless = Shard(train=(Message(0, "1234 5678"), Message(1, "£££ 99")))
    leaving = departure(np.ones(TUTORIAL.parameters))
    receipts = LeakReceipts()
    take(receipts, leaving, shard=wordless)
    assert receipts.kept.newest == []
    for _ in range(2):
        with pytest.raises(NodeFailed, match="cannot find what this round would tell"):
            take(LeakReceipts(LeakTerms(most_words=0.5)), leaving, shard=wordless)


def test_a_private_round_leaves_whatever_goes_wrong_with_its_receipt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error that hangs on the rows would tell of them without noise."""

    def fails(*_: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(OwnTexts, "attack", fails)
    recipe = load_recipe("private")
    receipts = LeakReceipts(LeakTerms(most_words=0.5))
    take(receipts, departure(np.ones(recipe.parameters), recipe))
    assert receipts.kept.newest == []
    with pytest.raises(NodeFailed, match="cannot find what this round would tell"):
        take(receipts, departure(np.ones(TUTORIAL.parameters)))


def test_receipts_that_are_off_are_not_taken_and_bounds_need_them() -> None:
    receipts = LeakReceipts(LeakTerms(receipts=False))
    take(receipts, departure(trained(SHARD)))
    assert receipts.kept.newest == []
    with pytest.raises(ValueError, match="which are off"):
        LeakTerms(receipts=False, most_words=0.5)


def test_the_file_has_the_newest_ones_alone_and_nobody_else_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts_module, "KEPT", 5)
    path = tmp_path / "receipts.jsonl"
    kept = ReceiptFile(path)
    most = 0
    for number in range(1, 24):
        kept.add(receipt(number))
        most = max(most, len(read_receipts(path)))
    assert most == 10
    assert [one.round for one in kept.newest] == [19, 20, 21, 22, 23]
    assert [one.round for one in read_receipts(path)][-5:] == [19, 20, 21, 22, 23]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_receipts_go_on_after_a_restart_and_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "receipts.jsonl"
    ReceiptFile(path).add(receipt(1))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    again = ReceiptFile(path)
    again.add(receipt(2))
    assert [one.round for one in read_receipts(path)] == [1, 2]
    path.write_text("{}\n")
    with pytest.raises(StorageError, match="damaged"):
        ReceiptFile(path)


def shown(folder: Path, *flags: str) -> Sequence[str]:
    done = run("worker_node", "receipts", "--identity", folder, *flags, cwd=folder)
    assert done.code == 0, done.err
    return done.out.splitlines()


def test_an_owner_is_shown_what_was_told(tmp_path: Path) -> None:
    assert shown(tmp_path) == []
    kept = ReceiptFile(tmp_path / "receipts.jsonl")
    for number in (1, 2, 3):
        kept.add(receipt(number))
    lines = shown(tmp_path, "--last", "2")
    assert len(lines) == 2
    assert lines[-1].startswith("2026-11-27T23:00:00Z  hospital  a-run  round 3 of 9, update: ")
    assert "90 of your 90 words (1 of 100 others are taken for yours)" in lines[-1]
    assert "none of your 1,200 messages that guessing would not find" in lines[-1]
    (line,) = shown(tmp_path, "--last", "1", "--json")
    assert json.loads(line)["words"]["found"] == 90
    assert shown(tmp_path, "--coordinator", "another") == []
