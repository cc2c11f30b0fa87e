"""The cleanings of English text: a message to words, class tokens and spelling features.

A saved model means these by their names, so what they give never changes; a better one gets a name
of its own (shared/model/unicode_words.py).
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from itertools import chain, pairwise

MAX_CHARACTERS = 40_000
"""Of a message in which words are looked for; in 40,000 characters without any, some patterns take
seconds, and the time grows with the square of the length."""

_LETTERS = re.compile(r"[a-z]+")
_PIECES = re.compile(
    r"""(?P<link>(?:https?://|www\.)\S+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|co\.uk|net|org|uk|tv|biz|info)\b\S*)
      | (?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
      | (?P<money>[£$€]\s?\d[\d,.]*|\b\d[\d,.]*\s?(?:pounds?|gbp|usd|eur)\b)
      | (?P<phone>\+?\d(?:[\s-]?\d){9,})
      | (?P<mixed>\d+(?:[.,]\d+)?(?=[^\W\d])\w+|[^\W\d]\w*\d\w*)
      | (?P<number>\d(?:[\d,.:/]*\d)?)
      | (?P<word>[^\W\d_]+(?:'[^\W\d_]+)?)
      | (?P<faces>[:;=]-?[()DPpoO/|*])
      | (?P<marks>[!?]+|\.{2,}|[£$€&#*@<>+=/])""",
    re.VERBOSE | re.IGNORECASE,
)
_DIGITS = re.compile(r"\d")


def letters(text: str) -> list[str]:
    """The article's cleaning: runs of a-z of the lower-cased text; all else separates."""
    return _LETTERS.findall(text.lower())


def word_classes(text: str) -> list[str]:
    """Lower-case words, and class tokens such as "<phone>" for what is no word.

    Class tokens hold characters that no word can hold, so a message cannot fake one.
    """
    return list(pieces(html.unescape(text)))


def pieces(plain: str) -> Iterator[str]:
    """The same of unescaped text, one by one: a long message costs what is used of it."""
    for match in _PIECES.finditer(plain[:MAX_CHARACTERS]):
        yield from classes(match.lastgroup or "", match.group())


def classes(kind: str, piece: str) -> list[str]:
    """The tokens of a piece of text, by the kind of piece that it is."""
    if kind == "word":
        lower = piece.lower()
        return [lower, "<shout>"] if len(piece) > 1 and piece.isupper() else [lower]
    if kind == "mixed":
        return [f"<shape {_DIGITS.sub('0', piece.lower())}>"]
    if kind == "number":
        return [f"<number {len(piece)}>"]
    if kind == "marks":
        return [f"<{piece[:2]}>"]
    if kind == "phone":
        return ["<phone>", f"<phone {piece.lstrip('+')[:2]}>"]
    return [f"<{kind}>"]


def style(text: str) -> list[str]:
    """Three class tokens of the whole message: its length, its digits and its capitals.

    Numbers are halves of a doubling, so that few tokens serve all lengths; the share of capitals
    among letters is told as ten times its root. Whole numbers alone: no machine rounds otherwise.
    """
    return style_of(html.unescape(text))


def style_of(plain: str) -> list[str]:
    """The same of unescaped text."""
    cased = [letter.isupper() for letter in plain if letter.isalpha()]
    digits = sum(character.isdigit() for character in plain)
    return style_tokens(len(plain), digits, len(cased), sum(cased))


def style_tokens(characters: int, digits: int, letters: int, capitals: int) -> list[str]:
    """The same of a text with so many of each."""
    share = math.isqrt(100 * capitals // max(1, letters))
    return [f"<length {_halves(characters)}>", f"<digits {_halves(digits)}>", f"<upper {share}>"]


def _halves(number: int) -> int:
    """Twice the binary logarithm of number + 1, rounded down."""
    return ((number + 1) ** 2).bit_length() - 1


def styled_words(text: str) -> Iterator[str]:
    """The message's style, then its words, one by one; in front, no long message loses it."""
    plain = html.unescape(text)
    return chain(style_of(plain), pieces(plain))


def ngrams(text: str) -> list[str]:
    """Distinct spelling features in order of appearance: runs of 2 to 5 characters."""
    return list(dict.fromkeys(runs(text)))


def runs(text: str) -> Iterator[str]:
    """The same one by one, with repeats."""
    plain = spaced(text)
    ends = ((size, len(plain) - size + 1) for size in (2, 3, 4, 5))
    return (plain[i : i + size] for size, end in ends for i in range(end))


def spaced(text: str) -> str:
    """What runs are cut from: the lower-cased words of a text with one space around each."""
    return f" {' '.join(text.lower().split())} "


def styled_ngrams(text: str) -> list[str]:
    """Distinct style tokens, words, pairs of words, and then runs of characters."""
    return list(dict.fromkeys(styled_runs(text)))


def styled_runs(text: str) -> Iterator[str]:
    """The same one by one, with repeats."""
    return chain(style(text), words_and_pairs(word_classes(text)), runs(text))


def words_and_pairs(words: list[str]) -> Iterator[str]:
    """Features of words, then of words that stand side by side."""
    yield from (f"w {word}" for word in words)
    yield from (f"b {first} {second}" for first, second in pairwise(words))
