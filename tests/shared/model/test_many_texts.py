"""Many messages at once have the ids that each has alone, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mmh3
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.model import many_texts, murmur, spelling, vocabulary
from shared.model.first_of_kind import first_of_kind
from shared.model.front import OTHER, Front
from shared.model.many_texts import encode_all
from shared.model.recipe import FEWEST_PLACES, TextRecipe
from shared.model.text import CLEANING, NGRAM_SEED, WORD_SEED, encode
from shared.model.words import spaced, style_of

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


def test_texts_of_very_many_different_characters() -> None:
    recipe = TextRecipe(cleaning="unicode-words", tokens=60, ngrams=560)
    texts = ["".join(map(chr, range(start, start + 400))) for start in range(0x4E00, 0x9000, 400)]
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


@pytest.mark.parametrize("bound", ["_MOST_PARTS", "_MOST_TOKENS", "_MOST_CHARACTERS"])
def test_what_is_known_of_words_is_forgotten_and_learnt_again(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(vocabulary, bound, 20)
    monkeypatch.setattr(many_texts, "AT_ONCE", 4)
    recipe = TextRecipe(cleaning="unicode-words", tokens=60, ngrams=560)
    texts = [f"win {n} of {n % 7} words, or call 09{n:09}" for n in range(40)] + list(HARD)
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


def test_a_vocabulary_knows_no_more_than_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_MOST_PARTS", 50)
    known = vocabulary.Vocabulary(str.split)
    for number in range(400):
        known.bound()
        known.read([f"word{number}"], np.array([0, 1]))
        assert len(known.numbers) <= 51
    known.bound()
    assert known.numbers["word399"] == len(known.numbers) - 1


def test_threads_share_nothing_that_they_learn() -> None:
    recipe = TextRecipe(cleaning="unicode-words", tokens=60, ngrams=560)
    texts = [[f"thread {t} says word{n * t} {n}" for n in range(300)] for t in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda some: encode_all(some, recipe), texts * 3))
    wanted = [alone(some, recipe) for some in texts] * 3
    assert [rows.tolist() for rows in found] == wanted


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
        min_size=1,
        max_size=5,
    )
)
@example([""])
@example(["a\x1cB \t C", "  ", "a a a aa"])
def test_runs_are_those_of_each_text(texts: list[str]) -> None:
    spelled = spelling.Spelling(texts)
    assert spelled.together == "".join(map(spaced, texts))
    found = spelled.runs(spelled.first(), seed=3)
    for size, runs in zip(spelling.SIZES, found, strict=True):
        ends = np.cumsum(runs.numbers)
        for text, number, end in zip(texts, runs.numbers, ends, strict=True):
            plain = spaced(text)
            one = dict.fromkeys(plain[i : i + size] for i in range(len(plain) - size + 1))
            hashes = [mmh3.hash(run, 3, signed=False) for run in one]
            assert runs.hashes[end - number : end].tolist() == hashes


@given(st.lists(st.integers(0, 2**50) | st.integers(0, 9), max_size=60))
def test_first_of_kind_is_that_of_a_dictionary(keys: list[int]) -> None:
    seen: dict[int, int] = {}
    first = [seen.setdefault(key, place) == place for place, key in enumerate(keys)]
    assert first_of_kind(np.array(keys, np.uint64)).tolist() == first


def test_keys_that_leave_no_room_for_their_places_are_refused() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        first_of_kind(np.array([1, 2**63], np.uint64))


@pytest.mark.parametrize("cleaning", CLEANING)
@pytest.mark.parametrize("sign", ["$", "£", "€", "\u20b9", "٣", "é"])
def test_no_token_is_cut_at_a_space_that_it_spans(cleaning: str, sign: str) -> None:
    recipe = recipe_of(cleaning, 60, 99)
    beside = [
        sign,
        f"5{sign}",
        "5",
        "5,",
        "5.",
        ",5",
        "07",
        "pounds",
        "Usd",
        "EURO",
        "gbp5",
        "x",
        "",
    ]
    texts = [
        f"{first} {second} {third}" for first in beside for second in beside for third in beside
    ]
    assert encode_all(texts, recipe).tolist() == alone(texts, recipe)


@given(st.text(max_size=40))
def test_style_of_many_is_that_of_each(text: str) -> None:
    texts = [text, "", text + "A1"]
    found = Front([one.replace("\0", "").encode(errors="replace").decode() for one in texts], OTHER)
    for seed in (WORD_SEED, NGRAM_SEED):
        tokens = [
            token
            for one in texts
            for token in style_of(one.replace("\0", "").encode(errors="replace").decode())
        ]
        hashes = [mmh3.hash(token, seed, signed=False) for token in tokens]
        assert found.style(seed).hashes.tolist() == hashes


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
        first = np.arange(len(data) - length + 1)
        found = murmur.hashes_of_one_length(words, first, length, seed)
        assert found.tolist() == [
            mmh3.hash(data[i : i + length], seed, signed=False) for i in first.tolist()
        ]


_PIECES = st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=6)


@given(_PIECES, st.integers(0, 2**32 - 1))
def test_bytes_that_were_begun_are_hashed_with_others_behind_them(
    pieces: list[tuple[bytes, bytes]], seed: int
) -> None:
    def lying(some: list[bytes]) -> tuple[murmur.Words, murmur.Places, murmur.Places]:
        lengths = np.array([len(one) for one in some], np.intp)
        return murmur.words_at(b"".join(some) or b"x"), np.cumsum(lengths) - lengths, lengths

    begun = murmur.beginnings(*lying([first for first, _ in pieces]), seed)
    found = murmur.hashes_behind(begun, *lying([second for _, second in pieces]))
    assert found.tolist() == [
        mmh3.hash(first + second, seed, signed=False) for first, second in pieces
    ]
