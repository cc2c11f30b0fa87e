"""Which words and messages an attack asks about, and when it is held against guessing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from shared.model.recipe import load_recipe
from shared.privacy.reading_updates import Rows
from shared.privacy.recognising import Recognised
from worker_node.data.shard import Message, Shard
from worker_node.privacy import own_texts
from worker_node.privacy.own_texts import OwnTexts

PRIVATE = load_recipe("private")
LETTERS = "bcdfghjklm"


def word(number: int) -> str:
    return "w" + "".join(LETTERS[int(digit)] for digit in f"{number:04}")


def messages(numbers: Sequence[int], label: int = 0) -> tuple[Message, ...]:
    """Of one word each."""
    return tuple(Message(label, word(number)) for number in numbers)


def same(found: Rows, expected: Rows) -> bool:
    return (
        found.count == expected.count
        and np.array_equal(found.row, expected.row)
        and np.array_equal(found.feature, expected.feature)
        and np.array_equal(found.value, expected.value)
    )


def test_others_are_held_out_words_and_messages_that_are_not_among_the_training_rows() -> None:
    train, held_out = messages(range(110), label=1), messages(range(100, 215))
    texts = OwnTexts.of(Shard(train=train, held_out=held_out), PRIVATE)
    others = [word(number) for number in range(110, 215)]
    own = [word(number) for number in range(110)]
    assert same(texts.words, Rows.of_words(own, PRIVATE))
    assert same(texts.other_words, Rows.of_words(others, PRIVATE))
    assert same(texts.messages, Rows.of(own, PRIVATE))
    assert same(texts.other_messages, Rows.of(others, PRIVATE))
    assert (texts.labels.tolist(), texts.other_labels.tolist()) == ([1] * 110, [0] * 105)
    assert (texts.all_words, texts.all_messages, texts.are_invented) == (110, 110, False)


def test_held_out_words_are_read_up_to_a_bound_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_texts, "READ", 200)
    train = messages(range(110))
    texts = OwnTexts.of(Shard(train=train, held_out=messages(range(200, 500))), PRIVATE)
    assert texts.other_words.count == 128  # of 200 that were read
    monkeypatch.setattr(own_texts, "READ", 110)
    texts = OwnTexts.of(Shard(train=train, held_out=messages(range(200, 500))), PRIVATE)
    assert texts.other_words.count == 110


@pytest.mark.parametrize("of", ["words", "messages"])
def test_either_kind_of_invented_others_is_told(of: str) -> None:
    """Held-out rows whose words the owner has, and such whose messages he has."""
    new = [Message(0, f"{word(number)} {word(number + 1)}") for number in range(105)]
    kept = Message(0, " ".join(word(number) for number in range(200, 320)))
    train, held_out = {
        "words": (messages(range(110)), new),
        "messages": (messages(range(110)), [*messages(range(90)), kept]),
    }[of]
    texts = OwnTexts.of(Shard(train=tuple(train), held_out=tuple(held_out)), PRIVATE)
    assert texts.are_invented
    counts = (texts.other_words.count, texts.other_messages.count)
    assert counts == {"words": (100, 105), "messages": (120, 100)}[of]


def test_rows_without_a_word_are_not_asked_about() -> None:
    with pytest.raises(ValueError, match="no words"):
        OwnTexts.of(Shard(train=(Message(0, "1234 5"),), held_out=messages(range(9))), PRIVATE)


def test_an_invented_word_gets_a_letter_longer_after_a_hundred_tries() -> None:
    own = ["abcdefghijkl", "mnopqrstuvwx"]
    lengths = [len(one) for one in own_texts._invented(own, [], 250)]
    assert lengths == [12] * 100 + [13] * 100 + [14] * 50
    assert own_texts._invented(["a"], ["aaa"], 3) == ["aa", "aaaa", "aaaaa"]
    assert own_texts._invented(own, [], 0) == []


def moving(*some: Rows) -> np.ndarray:
    """An update in which what these rows have moved, and nothing else."""
    numbers = np.zeros(PRIVATE.parameters)
    for rows in some:
        np.add.at(numbers, rows.feature - PRIVATE.text.buckets, rows.value)
    return numbers


@pytest.mark.parametrize("found", ["neither", "words", "messages"])
def test_guessing_is_tried_where_either_kind_is_found_beside_invented_others(
    monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    tries: list[float] = []

    def reached(advantages: Sequence[float]) -> float:
        tries.append(len(advantages))
        return 0.25 * len(tries)

    monkeypatch.setattr(own_texts, "_reached", reached)
    texts = OwnTexts.of(Shard(train=messages(range(40))), PRIVATE)
    chance = Recognised(1, 40, 1, 100, 0.5)
    sure = Recognised(40, 40, 1, 100, 1.0)
    one, other = {"neither": (chance, chance), "words": (sure, chance), "messages": (chance, sure)}[
        found
    ]
    monkeypatch.setattr(OwnTexts, "_found_in", lambda self, update: (one, other))
    words, told = texts.attack(np.zeros(PRIVATE.parameters))
    by_chance = [words.by_chance, told.by_chance]
    assert (tries, by_chance) == (([], [0, 0]) if found == "neither" else ([32, 32], [0.25, 0.5]))
    assert (words.found, told.found) == (one.found, other.found)


def test_spam_pulls_the_other_way_and_is_asked_about_so() -> None:
    half = (*messages(range(60), label=1), *messages(range(60, 120)))
    held_out = (*messages(range(200, 260), label=1), *messages(range(260, 320)))
    texts = OwnTexts.of(Shard(train=half, held_out=held_out), PRIVATE)
    spam, ham = (Rows.of([one.text for one in half if one.label == of], PRIVATE) for of in (1, 0))
    numbers = moving(ham) - moving(spam)
    assert texts.attack(numbers)[1].advantage > 0.5
    assert texts.attack(-numbers)[1].is_chance
