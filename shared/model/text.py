"""Messages to rows of token ids, without a vocabulary.

The 2019 article numbered the words of everybody's messages, which needs everybody's messages in
one place. Here a word's id is a hash of its spelling, so that a node needs the recipe and nothing
else, and two nodes agree without having spoken. Collisions are the price: at 2^13 buckets they
cost no accuracy that can be measured.

A row has `text.tokens` word ids, padded on the left with 0, and then `text.ngrams` ids of spelling
features (the wide part of the model; none in the tutorial recipe), padded on the right with 0.
The two kinds of ids are hashed apart and index two tables.
"""

from __future__ import annotations

import hashlib
import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import mmh3
import numpy as np
import numpy.typing as npt

from shared.model.recipe import TextRecipe

PADDING = 0
# Two seeds keep "win" the word and "win" the three letters from always meeting in one bucket.
_WORD_SEED = 0
_NGRAM_SEED = 1

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
    tokens: list[str] = []
    for match in _PIECES.finditer(html.unescape(text)):
        tokens += _classes(match.lastgroup or "", match.group())
    return tokens


def _classes(kind: str, piece: str) -> list[str]:
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
    plain = html.unescape(text)
    cased = [letter.isupper() for letter in plain if letter.isalpha()]
    digits = sum(character.isdigit() for character in plain)
    capitals = math.isqrt(100 * sum(cased) // max(1, len(cased)))
    return [
        f"<length {_halves(len(plain))}>",
        f"<digits {_halves(digits)}>",
        f"<upper {capitals}>",
    ]


def _halves(number: int) -> int:
    """Twice the binary logarithm of number + 1, rounded down."""
    return ((number + 1) ** 2).bit_length() - 1


def styled_words(text: str) -> list[str]:
    """The message's style, then its words; in front, no long message loses it."""
    return style(text) + word_classes(text)


CLEANING: dict[str, Callable[[str], list[str]]] = {
    "letters": letters,
    "word-classes": word_classes,
    "styled-words": styled_words,
}


def ngrams(text: str) -> list[str]:
    """Distinct spelling features in order of appearance: runs of 2 to 5 characters."""
    plain = f" {' '.join(text.lower().split())} "
    ends = ((size, len(plain) - size + 1) for size in (2, 3, 4, 5))
    return list(dict.fromkeys(plain[i : i + size] for size, end in ends for i in range(end)))


def styled_ngrams(text: str) -> list[str]:
    """Distinct style tokens, words, pairs of words, and then runs of characters."""
    words = word_classes(text)
    found = style(text)
    found += [f"w {word}" for word in words]
    found += [f"b {first} {second}" for first, second in pairwise(words)]
    return list(dict.fromkeys(found + ngrams(text)))


FEATURES: dict[str, Callable[[str], list[str]]] = {
    "letters": ngrams,
    "word-classes": ngrams,
    "styled-words": styled_ngrams,
}


@lru_cache(maxsize=2**17)
def _bucket(feature: str, seed: int, buckets: int) -> int:
    return 1 + int(mmh3.hash(feature, seed, signed=False)) % (buckets - 1)


def encode(text: str, recipe: TextRecipe) -> list[int]:
    """One message as `recipe.width` ids; a longer message loses its end.

    Returns:
        `recipe.tokens` word ids, 0 on the left where there are fewer words, then `recipe.ngrams`
        n-gram ids, 0 on the right where there are fewer.
    """
    words = CLEANING[recipe.cleaning](text)[: recipe.tokens]
    ids = [_bucket(word, _WORD_SEED, recipe.buckets) for word in words]
    row = [PADDING] * (recipe.tokens - len(ids)) + ids
    if recipe.ngrams:
        features = FEATURES[recipe.cleaning](text)[: recipe.ngrams]
        row += [_bucket(feature, _NGRAM_SEED, recipe.ngram_buckets) for feature in features]
        row += [PADDING] * (recipe.ngrams - len(features))
    return row


def encode_all(texts: Sequence[str], recipe: TextRecipe) -> npt.NDArray[np.int32]:
    """Messages as ids (rows, recipe.width)."""
    rows = np.empty((len(texts), recipe.width), dtype=np.int32)
    for index, text in enumerate(texts):
        rows[index] = encode(text, recipe)
    return rows


# Written for this purpose; between them they meet every branch of both cleanings.
_PROBES = (
    "",
    "Ok, see you at 7:30 then :-) don't wait...",
    "WINNER!! Claim your £1,000 prize: call 09061701461 NOW or txt WIN to 80086",
    "Visit http://www.example.com/a?b=1 or shop.example.co.uk, mail me@example.org",
    "150ppm 18+ 2nite gr8 +44 7700 900123 &lt;#&gt; $5 20 pounds ?!? a/b #1",
    "Café ÜBER straße 東京 \u00a0nbsp\ttab\u200bzero 🙂 l33t_speak",
    "word " * 40,
)


def tokeniser_fingerprint() -> dict[str, str]:
    """A digest of the ids of fixed probe texts, by cleaning, plus two of the features.

    Two sides with the same digests turn the same text into the same ids. Different releases of
    Python know different Unicode tables, which is one way for digests to differ.

    Returns:
        16 hexadecimal digits each under the cleanings, "ngrams" and "styled-ngrams".
    """
    digests = {name: _digest(map(_joined(clean), _PROBES)) for name, clean in CLEANING.items()}
    features = {"ngrams": ngrams, "styled-ngrams": styled_ngrams}
    return digests | {name: _digest(map(_joined(of), _PROBES)) for name, of in features.items()}


def _joined(split: Callable[[str], list[str]]) -> Callable[[str], str]:
    largest = 2**32

    def joined(text: str) -> str:
        return " ".join(f"{_bucket(part, _WORD_SEED, largest)}" for part in split(text))

    return joined


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
