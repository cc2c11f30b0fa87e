"""Many messages at once have the ids that each has alone, bit for bit."""

from __future__ import annotations

import mmh3
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.model import many_texts, murmur, spelling
from shared.model.many_texts import encode_all
from shared.model.recipe import FEWEST_PLACES, TextRecipe
from shared.model.text import CLEANING, encode
from shared.model.words import ngrams

HARD = (
    *("", " ", "a", "a a", "w a w ab w abc", "b a b", "b a b b a b", "\x1c", "a\x1cb 5\x1f5"),
    *("\0\0 \0", "5 pounds", "5  pounds", "$ 5", "$  5", "call 0906 170 1461 now"),
    *("5. Usd 5\tusd", "0 0 0 0 0 0 0 0 0 0", "\u00b4 1", "e\u0301", "\u0301"),
    *("&amp; &#xe9; &#x35; pounds &nbsp;5", "&#xd800;", "&Eacute;&ngE;", "\u0130I\u0131"),
    *(
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001f1ec\U0001f1e7\U0001f1ec",
        "\u212aelvin",
    ),
    *("50\u20ac 5 \u20ac 5", "\u0661\u0662 \u0663", "x\u00a05 pounds", "\u4f60\u597d \u4e16\u754c"),
    *("\U000e0041tag", "www.a.b http://x.y/z?q=1 5", "me@a.example 1 2", "word " * 400),
    *("ab" * 999, "<phone 09> <link>"),
)
_SIGNS = "$.,:;=()!?&#@<>+-_/' \t\n\xa0wb\u00a3\u20ac\u0430\u0456\u03bf\u200b\u0301"
PIECES = st.one_of(
    st.sampled_from(HARD),
    st.sampled_from(_SIGNS + "0123456789"),
    st.sampled_from(("pounds", "usd", "www.", "http://", ".com", "win", "WIN", "&pound;")),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
TEXTS = st.lists(
    st.one_of(
        st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES, max_size=9).map(" ".join)
    ),
    max_size=6,
)


def recipe_of(cleaning: str, tokens: int, ngrams: int) -> TextRecipe:
    if cleaning == "unicode-blocks":  # has places for each block, whatever else
        ngrams += FEWEST_PLACES
    numbers = {"tokens": tokens, "ngrams": ngrams, "buckets": 997, "ngram_buckets": 1009}
    return TextRecipe.model_validate({"cleaning": cleaning, **numbers})


RECIPES = [
    recipe_of(cleaning, tokens, ngrams)
    for cleaning in CLEANING
    for tokens, ngrams in ((60, 560), (7, 40), (3, 1), (30, 0))
]


def alone(texts: list[str], recipe: TextRecipe) -> list[list[int]]:
    return [encode(text, recipe) for text in texts]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda one: f"{one.cleaning}-{one.ngrams}")
@settings(max_examples=150, deadline=None)
@given(texts=TEXTS)
@example(texts=list(HARD))
def test_together_as_alone(recipe: TextRecipe, texts: list[str]) -> None:
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


@pytest.mark.parametrize("cleaning", CLEANING)
def test_lone_surrogates_are_what_they_are_alone(cleaning: str) -> None:
    recipe = recipe_of(cleaning, 9, 99)
    for texts in (["a \ud800b"], ["fine", "\udfff 5 pounds"], ["\udc80" * 3000]):
        with pytest.raises(UnicodeEncodeError):
            alone(texts, recipe)
        with pytest.raises(UnicodeEncodeError):
            encode_all(texts, recipe)


def test_more_messages_than_are_looked_at_together_and_long_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(many_texts, "AT_ONCE", 5)
    recipe = TextRecipe(cleaning="unicode-words", tokens=60, ngrams=560)
    texts = [f"{'é' * (n % 3)} number {n} is {n * n}" for n in range(23)]
    texts += ["long " * 2000, "好" * (many_texts.LONGEST + 1), *HARD]
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


def test_more_different_characters_than_fit_together() -> None:
    recipe = TextRecipe(cleaning="unicode-words", tokens=60, ngrams=560)
    texts = ["".join(map(chr, range(start, start + 400))) for start in range(0x4E00, 0x9000, 400)]
    assert not spelling.fits(texts)
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


def test_runs_whose_slots_are_all_shared_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spelling, "_SLOT_BITS", 1)
    recipe = TextRecipe(cleaning="styled-words", tokens=60, ngrams=560)
    texts = [text for text in HARD if len(text) < many_texts.LONGEST]
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_runs_are_those_of_each_text(texts: list[str]) -> None:
    found = spelling.distinct_runs([f" {text} " for text in texts], [], seed=3)
    for size, runs in zip(spelling.SIZES, found, strict=True):
        for number, text in enumerate(texts):
            plain = f" {text} "
            one = dict.fromkeys(plain[i : i + size] for i in range(len(plain) - size + 1))
            hashes = [mmh3.hash(run, 3, signed=False) for run in one]
            assert runs.hashes[runs.rows == number].tolist() == hashes


def test_what_counts_as_seen_is_no_run_of_its_text() -> None:
    texts = [" w win ", " w win "]
    found = spelling.distinct_runs(texts, [(1, "w win"), (1, " w "), (0, "win  ")], seed=0)
    numbers = [np.bincount(runs.rows, minlength=2).tolist() for runs in found]
    assert sum(one for one, _ in numbers) == len(ngrams("w win"))
    assert [first - second for first, second in numbers] == [0, 1, 0, 1]


@given(st.binary(min_size=1, max_size=70), st.integers(0, 2**32 - 1), st.data())
def test_hashes_are_those_of_mmh3(data: bytes, seed: int, choice: st.DataObject) -> None:
    words = murmur.words_at(data)
    starts = np.array(choice.draw(st.lists(st.integers(0, len(data) - 1), max_size=5)), np.intp)
    lengths = np.array(
        [choice.draw(st.integers(0, len(data) - start)) for start in starts], np.intp
    )
    there = [
        mmh3.hash(data[start : start + length], seed, signed=False)
        for start, length in zip(starts, lengths, strict=True)
    ]
    assert murmur.hashes(words, starts, lengths, seed).tolist() == there
    for length in range(1, min(7, len(data)) + 1):
        found = murmur.hashes_of_one_length(words, length, seed)[: len(data) - length + 1]
        assert found.tolist() == [
            mmh3.hash(data[i : i + length], seed, signed=False) for i in range(len(found))
        ]
