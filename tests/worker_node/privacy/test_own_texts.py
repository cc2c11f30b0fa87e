"""What is asked about an owner's rows: how many, which others stand beside them, and chance."""

from __future__ import annotations

import numpy as np
import pytest

from shared.model.recipe import Recipe, load_recipe
from shared.privacy.reading_updates import Rows
from worker_node.data.shard import Message, Shard
from worker_node.privacy import own_texts
from worker_node.privacy.own_texts import FEWEST, MOST, MOST_OF_LINEAR, READ, OwnTexts

TUTORIAL, PRIVATE = load_recipe("tutorial"), load_recipe("private")


def word(number: int, first: str) -> str:
    """Distinct words of letters alone."""
    letters = ""
    for _ in range(4):
        number, place = divmod(number, 26)
        letters += chr(97 + place)
    return first + letters


def rows(count: int, first: str) -> tuple[Message, ...]:
    return tuple(Message(place % 2, word(place, first)) for place in range(count))


@pytest.mark.parametrize(("recipe", "most"), [(TUTORIAL, 512), (PRIVATE, 128)])
def test_so_many_are_asked_about_and_as_many_others(recipe: Recipe, most: int) -> None:
    texts = OwnTexts.of(Shard(train=rows(700, "o"), held_out=rows(600, "h")), recipe)
    kinds = (texts.words, texts.other_words, texts.messages, texts.other_messages)
    assert [one.count for one in kinds] == [most] * 4
    assert (len(texts.labels), len(texts.other_labels)) == (most, most)
    assert 0 < texts.labels.sum() < most
    assert (texts.all_words, texts.all_messages) == (700, 700)
    assert not texts.are_invented
    assert texts.recipe == recipe
    assert (MOST, MOST_OF_LINEAR) == (512, 128)


def test_no_more_rows_are_read_for_their_words_than_so_many() -> None:
    shard = Shard(train=rows(READ + 1, "o"), held_out=rows(FEWEST, "h"))
    assert OwnTexts.of(shard, TUTORIAL).all_words == READ == 50_000


@pytest.mark.parametrize(("others", "invented"), [(99, True), (100, False)])
def test_a_hundred_others_are_enough_and_fewer_are_made_up_to_that(
    others: int, invented: bool
) -> None:
    shard = Shard(train=rows(120, "o"), held_out=rows(others, "h"))
    texts = OwnTexts.of(shard, TUTORIAL)
    assert (texts.other_words.count, texts.other_messages.count) == (100, 100)
    assert texts.are_invented is invented
    # words enough, and messages that are training rows too
    shard = Shard(train=rows(120, "o"), held_out=(*rows(110, "h")[:99], *rows(20, "o")))
    assert OwnTexts.of(shard, TUTORIAL).are_invented


def test_what_is_invented_is_like_the_owners_and_is_not_theirs() -> None:
    own = ["abc", "cab", "bca"]
    made = own_texts._invented(own, ["aaa"], 200)
    assert len(made) == len(set(made)) == 200
    assert not {*own, "aaa"} & set(made)
    assert set("".join(made)) == set("abc")
    assert len(made[0]) == 3  # and longer ones as the short ones are used up
    assert made == own_texts._invented(own, ["aaa"], 200)  # the same each time


def test_messages_that_are_made_up_have_the_owners_labels_and_lengths() -> None:
    own = [Message(1, "a b c"), Message(0, "a"), Message(0, "")]
    made = own_texts._made_up(own, ["x", "y"], 5)
    assert [one.label for one in made] == [1, 0, 0, 1, 0]
    assert [len(one.text.split()) for one in made] == [3, 1, 1, 3, 1]
    assert set(" ".join(one.text for one in made).split()) <= {"x", "y"}


def test_chance_is_four_deviations_above_what_it_is_on_average() -> None:
    assert own_texts._reached([0.1, 0.3]) == pytest.approx(0.2 + 4 * 0.1)
    assert own_texts._reached([0.25] * 3) == pytest.approx(0.25)


def test_an_owner_without_a_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="no words"):
        OwnTexts.of(Shard(train=(Message(0, "12 34"),)), TUTORIAL)


def moving(rows: Rows) -> np.ndarray:
    """An update in which all that these rows have moved, and nothing else."""
    numbers = np.zeros(PRIVATE.parameters)
    np.add.at(numbers, rows.feature - PRIVATE.text.buckets, rows.value)
    return numbers


def test_beside_invented_others_an_attack_is_held_against_the_same_numbers_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shard = Shard(train=rows(30, "o"))
    texts = OwnTexts.of(shard, PRIVATE)
    assert texts.are_invented
    found, _ = texts.attack(moving(texts.words))
    assert not found.is_chance
    assert found.by_chance > 0
    # were guessing seen to reach as much, nothing would be found
    monkeypatch.setattr(own_texts, "_reached", lambda _: 1.0)
    found, messages = texts.attack(moving(texts.words))
    assert (found.by_chance, found.is_chance) == (1.0, True)
    assert messages.by_chance in (0.0, 1.0)
    plain = OwnTexts.of(Shard(train=rows(30, "o"), held_out=rows(120, "h")), PRIVATE)
    found, _ = plain.attack(moving(plain.words))
    assert (found.by_chance, found.is_chance) == (0.0, False)


def test_so_many_guesses_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def reached(found: list[float]) -> float:
        seen.append(len(found))
        return 0.0

    monkeypatch.setattr(own_texts, "_reached", reached)
    texts = OwnTexts.of(Shard(train=rows(30, "o")), PRIVATE)
    texts.attack(moving(texts.words))
    assert seen == [32, 32]
