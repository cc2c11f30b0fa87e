"""Cleaning, hashing and padding."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.many_texts import encode_all
from shared.model.recipe import TextRecipe, load_recipe
from shared.model.text import encode, fingerprint_of, tokeniser_fingerprint
from shared.model.unicode_words import fold, unicode_features, unicode_words
from shared.model.words import (
    letters,
    ngrams,
    style,
    styled_ngrams,
    styled_runs,
    styled_words,
    word_classes,
)
from tests.helpers.messages import made_up

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
    assert list(styled_words(text)) == tokens + word_classes(text)


@given(st.text())
def test_styled_ngrams_are_distinct_and_begin_with_what_is_rare(text: str) -> None:
    found = styled_ngrams(text)

    assert len(found) == len(set(found))
    assert found[:3] == style(text)
    assert set(ngrams(text)) <= set(found)


def test_styled_ngrams_hold_words_and_their_pairs() -> None:
    found = styled_ngrams("Win £5 win")
    assert found[3:7] == ["w win", "w <money>", "b win <money>", "b <money> win"]


# Every language, and what is done to hide a word


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("क्षत्रिय १२३४५६७८९०१", ["क्षत्रिय", "<phone>", "<phone 12>"]),
        ("你好 世界", ["你", "好", "世", "界"]),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("カタカナ", ["カタカナ"]),
        ("Cafe\u0301 ÜBER", ["café", "über", "<shout>"]),
        ("don\u2019t", ["don't"]),
        ("ok 🙂👍🏽 🇬🇧", ["ok", "<🙂>", "<👍>", "<🇬🇧>"]),
        ("₹500 50€", ["<money>", "<money>"]),
        ("call 08717890890£1.50", ["call", "<phone>", "<phone 08>", "<money>"]),
    ],
)
def test_other_languages_give_words(text: str, tokens: list[str]) -> None:
    assert list(unicode_words(text))[3:] == tokens


@pytest.mark.parametrize(
    ("hidden", "plain"),
    [
        ("vi\u200bag\u00adra", "viagra"),
        ("\uff26\uff32\uff25\uff25", "FREE"),
        ("F\u0420\u0415\u0415 pr\u0456z\u0435", "FPEE prize"),
        ("\U0001d41f\U0001d42b\U0001d41e\U0001d41e", "free"),
        (
            "call \u0660\u0669\u0660\u0666\u0661\u0667\u0660\u0661\u0664\u0666\u0661",
            "call 09061701461",
        ),
        ("wi\ufb01", "wifi"),
    ],
)
def test_what_hides_a_word_is_folded_in_words_and_features(hidden: str, plain: str) -> None:
    assert list(unicode_words(hidden)) == list(unicode_words(plain))
    assert list(unicode_features(hidden)) == list(unicode_features(plain))


def test_a_word_that_is_cyrillic_or_greek_throughout_stays_as_it_is() -> None:
    assert fold("сас РОСА και нет") == "сас РОСА και нет"


# The four separators are space in Unicode and not in ASCII; after one of them an amount of money
# may read as another token.
@given(st.text(st.characters(max_codepoint=127, exclude_characters="\x1c\x1d\x1e\x1f")))
def test_ascii_reads_as_it_did_before_there_were_other_languages(text: str) -> None:
    plain = text.replace("&", "")  # an entity may stand for what is not ASCII
    assert list(unicode_words(plain)) == list(styled_words(plain))
    assert list(unicode_features(plain)) == list(styled_runs(plain))


@pytest.mark.parametrize("word", ["a", "Free", "WIN", "I", "gbp", "www", "don't", "tv2", "été"])
def test_a_word_in_a_text_of_other_letters_reads_as_it_does_alone(word: str) -> None:
    alone = list(unicode_words(word))[3:]
    assert list(unicode_words(f"好 {word} 好"))[3:] == ["好", *alone, "好"]
    assert alone == word_classes(word)


@given(st.text())
def test_whatever_is_written_has_features_of_every_kind(text: str) -> None:
    assert len(list(unicode_words(text))) >= 3
    assert set(ngrams(fold(text))) <= set(unicode_features(text))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "filler", ["_", "_@", "a-", "a.", "a@", "1", "1.", "1a", "é", "é.", "é_", "word ", "好", "१"]
)
def test_the_longest_text_is_read_in_a_moment_whatever_it_holds(filler: str) -> None:
    recipe = load_recipe("default").text
    text = filler * (1_000_000 // len(filler))
    assert encode(text, recipe) == encode(text[:40_000], recipe)


GOLDEN = {
    "letters": "6bc7b60f1e44880a",
    "word-classes": "27053b20866eae21",
    "styled-words": "d465e3e6d85a93ef",
}
"""Of the ids below, by the version that the first models were saved with."""


@pytest.mark.parametrize("cleaning", GOLDEN)
def test_a_cleaning_gives_the_ids_that_it_gave_when_models_were_first_saved(cleaning: str) -> None:
    texts = [message.text for message in made_up(50)]
    texts += [
        "",
        "Ok, see you at 7:30 then :-) don't wait...",
        "WINNER!! Claim your £1,000 prize: call 09061701461 NOW",
        "Visit http://www.example.com/a?b=1 or shop.example.co.uk",
        "Café ÜBER straße 東京 \u00a0nbsp\ttab\u200bzero 🙂 l33t_speak",
        "word " * 400,
        "नमस्ते दुनिया",
    ]
    recipe = TextRecipe.model_validate(
        {"cleaning": cleaning, "tokens": 60, "ngrams": 560, "ngram_buckets": 131072}
    )
    ids = encode_all(texts, recipe).astype("<i4").tobytes()
    assert hashlib.sha256(ids).hexdigest()[:16] == GOLDEN[cleaning]


def test_the_fingerprints_of_the_first_cleanings_are_those_in_saved_models() -> None:
    first = {
        "letters": "dc97f63446195e82",
        "word-classes": "d2fb85a548b140a3",
        "styled-words": "b7bba25e288c5e8c",
        "ngrams": "76fc67fba9f29021",
        "styled-ngrams": "03e1740ec300588c",
    }
    assert first.items() <= tokeniser_fingerprint().items()
    assert fingerprint_of(TextRecipe(cleaning="styled-words", ngrams=5)) == {
        name: first[name] for name in ("styled-words", "styled-ngrams")
    }
    assert set(fingerprint_of(TextRecipe(cleaning="unicode-words"))) == {"unicode-words"}
