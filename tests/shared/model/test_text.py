"""Cleaning, hashing and padding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.recipe import TextRecipe, load_recipe
from shared.model.text import (
    encode,
    encode_all,
    letters,
    ngrams,
    style,
    styled_ngrams,
    styled_words,
    tokeniser_fingerprint,
    word_classes,
)

SMALL = TextRecipe(tokens=4, buckets=50)


def test_letters_are_the_articles_words() -> None:
    assert letters("FREE entry! Don't call 0800-A1b") == [
        "free",
        "entry",
        "don",
        "t",
        "call",
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Call me", ["call", "me"]),
        ("CALL me", ["call", "<shout>", "me"]),
        ("I won't", ["i", "won't"]),
        ("a £1,000 prize", ["a", "<money>", "prize"]),
        ("ring 09061701461", ["ring", "<phone>", "<phone 09>"]),
        ("at 7:30", ["at", "<number 4>"]),
        ("150ppm 18+", ["<shape 000ppm>", "<number 2>", "<+>"]),
        ("1.50p a min at 1:30pm", ["<shape 0.00p>", "a", "min", "at", "<number 4>", "pm"]),
        ("gr8 2nite", ["<shape gr0>", "<shape 0nite>"]),
        ("see http://a.example/b or shop.example.co.uk", ["see", "<link>", "or", "<link>"]),
        ("mail me@site.example", ["mail", "<mail>"]),
        ("ok :-) ...", ["ok", "<faces>", "<..>"]),
        ("now!!!", ["now", "<!!>"]),
        ("fish &amp; chips", ["fish", "<&>", "chips"]),
        ("Café ÜBER", ["café", "über", "<shout>"]),
        ("", []),
        ("\u200b \u00a0 ~", []),
    ],
)
def test_word_classes_keep_what_a_word_is_not(text: str, tokens: list[str]) -> None:
    assert word_classes(text) == tokens


@given(st.text())
def test_a_message_cannot_fake_a_class_token(text: str) -> None:
    made = {token for token in word_classes(text) if token.startswith("<")}
    spelled = set(word_classes(" ".join(made)))
    assert "<phone>" not in spelled
    assert "<money>" not in spelled
    assert "<shout>" not in spelled


@given(st.text(), st.sampled_from(["tutorial", "default"]))
def test_a_row_has_the_recipes_width_and_padding_where_it_belongs(text: str, name: str) -> None:
    recipe = load_recipe(name).text
    row = encode(text, recipe)
    words, features = row[: recipe.tokens], row[recipe.tokens :]

    assert len(row) == recipe.width
    assert all(0 <= word < recipe.buckets for word in words)
    assert all(0 <= feature < recipe.ngram_buckets for feature in features)
    # padding is never in the midst, since no word hashes to it
    assert words == [0] * words.count(0) + [word for word in words if word]
    assert features == [feature for feature in features if feature] + [0] * features.count(0)


def test_short_messages_are_padded_on_the_left_and_long_ones_lose_their_end() -> None:
    assert encode("a b", SMALL)[:2] == [0, 0]
    assert encode("a b", SMALL)[2:] == encode("a b c d e", SMALL)[:2]
    assert encode("a b c d e", SMALL) == encode("a b c d", SMALL)
    assert encode("", SMALL) == [0, 0, 0, 0]


def test_two_buckets_are_enough() -> None:
    assert encode("a b c", TextRecipe(tokens=3, buckets=2)) == [1, 1, 1]


def test_many_rows_are_the_rows_of_each() -> None:
    texts = ["one two", "", "three four five six seven"]
    rows = encode_all(texts, SMALL)

    assert rows.dtype == np.int32
    assert rows.tolist() == [encode(text, SMALL) for text in texts]
    assert encode_all([], SMALL).shape == (0, 4)


def test_ids_are_the_same_in_every_process() -> None:
    """Python salts its own hash of strings; ours must not depend on it."""
    code = "from shared.model.text import tokeniser_fingerprint; print(tokeniser_fingerprint())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[3],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {str(tokeniser_fingerprint())}


def test_the_hash_is_murmurhash3() -> None:
    """The reference vector of the 32-bit x86 variant: "hello", seed 0, is 0x248bfa47."""
    assert encode("hello", TextRecipe(tokens=1, buckets=2**22)) == [1 + 0x248BFA47 % (2**22 - 1)]


def test_another_tokeniser_has_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tokeniser_fingerprint()
    monkeypatch.setitem(sys.modules["shared.model.text"].CLEANING, "letters", str.split)
    after = tokeniser_fingerprint()

    assert after["letters"] != before["letters"]
    assert after["word-classes"] == before["word-classes"]


@given(st.text())
def test_spelling_features_are_distinct_and_blind_to_case_and_spacing(text: str) -> None:
    found = ngrams(text)

    assert len(found) == len(set(found))
    assert ngrams(f"  {text.lower()}\n") == ngrams(text.lower())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", ["<length 0>", "<digits 0>", "<upper 0>"]),
        ("abc", ["<length 4>", "<digits 0>", "<upper 0>"]),
        ("WIN £1,000 now", ["<length 7>", "<digits 4>", "<upper 7>"]),
        ("&amp;", ["<length 2>", "<digits 0>", "<upper 0>"]),
    ],
)
def test_style_tells_length_digits_and_capitals(text: str, tokens: list[str]) -> None:
    assert style(text) == tokens
    assert styled_words(text) == tokens + word_classes(text)


@given(st.text())
def test_styled_ngrams_are_distinct_and_begin_with_what_is_rare(text: str) -> None:
    found = styled_ngrams(text)

    assert len(found) == len(set(found))
    assert found[:3] == style(text)
    assert set(ngrams(text)) <= set(found)


def test_styled_ngrams_hold_words_and_their_pairs() -> None:
    found = styled_ngrams("Win £5 win")
    assert found[3:7] == ["w win", "w <money>", "b win <money>", "b <money> win"]
