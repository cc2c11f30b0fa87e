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
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice

import mmh3

from shared.model.blocks import block_features, placed
from shared.model.recipe import TextRecipe
from shared.model.unicode_words import unicode_features, unicode_words
from shared.model.words import letters, runs, styled_runs, styled_words, word_classes

PADDING = 0
# Two seeds keep "win" the word and "win" the three letters from always meeting in one bucket.
WORD_SEED = 0
NGRAM_SEED = 1

Split = Callable[[str], Iterable[str]]

CLEANING: dict[str, Split] = {
    "letters": letters,
    "word-classes": word_classes,
    "styled-words": styled_words,
    "unicode-words": unicode_words,
    "unicode-blocks": unicode_words,
}
"""What a recipe's `cleaning` stands for. A name never changes its meaning: saved models have it."""

FEATURES: dict[str, tuple[str, Split]] = {
    "letters": ("ngrams", runs),
    "word-classes": ("ngrams", runs),
    "styled-words": ("styled-ngrams", styled_runs),
    "unicode-words": ("unicode-ngrams", unicode_features),
    "unicode-blocks": ("unicode-block-ngrams", block_features),
}
"""The spelling features beside each cleaning: their name, and where they come from, repeats and
all."""


@lru_cache(maxsize=2**17)
def _bucket(feature: str, seed: int, buckets: int) -> int:
    # as bytes: what has no UTF-8 is then an error, where mmh3 5.3 ends the process
    return 1 + int(mmh3.hash(feature.encode(), seed, signed=False)) % (buckets - 1)


def encode(text: str, recipe: TextRecipe) -> list[int]:
    """One message as `recipe.width` ids; a longer message loses its end.

    Many are quicker together, with the same ids: shared/model/many_texts.py.

    Returns:
        `recipe.tokens` word ids, 0 on the left where there are fewer words, then `recipe.ngrams`
        n-gram ids, 0 on the right where there are fewer; of "unicode-blocks" in each block.

    Raises:
        UnicodeEncodeError: the text holds a lone surrogate.
    """
    words = islice(CLEANING[recipe.cleaning](text), recipe.tokens)
    ids = [_bucket(word, WORD_SEED, recipe.buckets) for word in words]
    row = [PADDING] * (recipe.tokens - len(ids)) + ids
    if recipe.cleaning == "unicode-blocks":
        row += [
            PADDING if feature is None else _bucket(feature, NGRAM_SEED, recipe.ngram_buckets)
            for feature in placed(text, recipe.ngrams)
        ]
    elif recipe.ngrams:
        _, split = FEATURES[recipe.cleaning]
        features = list(_distinct(split(text), recipe.ngrams))
        row += [_bucket(feature, NGRAM_SEED, recipe.ngram_buckets) for feature in features]
        row += [PADDING] * (recipe.ngrams - len(features))
    return row


def _distinct(features: Iterable[str], most: int) -> Iterator[str]:
    """The first `most` different ones, in order of appearance."""
    seen: set[str] = set()
    for feature in features:
        if feature not in seen:
            seen.add(feature)
            yield feature
            if len(seen) == most:
                return


# Written for this purpose; between them they meet every branch of the cleanings of English.
_PROBES = (
    "",
    "Ok, see you at 7:30 then :-) don't wait...",
    "WINNER!! Claim your £1,000 prize: call 09061701461 NOW or txt WIN to 80086",
    "Visit http://www.example.com/a?b=1 or shop.example.co.uk, mail me@example.org",
    "150ppm 18+ 2nite gr8 +44 7700 900123 &lt;#&gt; $5 20 pounds ?!? a/b #1",
    "Café ÜBER straße 東京 \u00a0nbsp\ttab\u200bzero 🙂 l33t_speak",
    "word " * 40,
)


# The same for what came later; the others' digests are in saved models, and stay.
_UNICODE_PROBES = (
    *_PROBES,
    "नमस्ते दुनिया १२३४५६७८९० ₹500 क्षत्रिय",
    "恭喜您中獎了！請致電 ０９０６１７０１４６１　领取￥１,０００",
    "สวัสดีครับ คืนนี้มาไหม",
    "هل ستأتي الليلة؟ ربحت ٥٠٠ جنيه",
    "Cafe\u0301 don\u2019t F\u0420\u0415\u0415 vi\u200bagra",
    "\uff26\uff32\uff25\uff25 \u0441\u0430\u0441",
    "👨\u200d👩\u200d👧 🇬🇧 👍🏽 50€ ©",
)


def tokeniser_fingerprint() -> dict[str, str]:
    """A digest of the ids of fixed probe texts, by cleaning and by kind of spelling features.

    Two sides with the same digests turn the same text into the same ids. Different releases of
    Python and of the package regex know different Unicode tables, which is one way for digests to
    differ.

    Returns:
        16 hexadecimal digits each, under the names of CLEANING and FEATURES.
    """
    splits = dict(CLEANING)
    for name, of in FEATURES.values():
        splits[name] = _all_distinct(of)
    return {name: _digest(map(_joined(of), _probes(name))) for name, of in splits.items()}


def fingerprint_of(recipe: TextRecipe) -> dict[str, str]:
    """The part of the fingerprint that the recipe's ids depend on."""
    names: list[str] = [recipe.cleaning]
    if recipe.ngrams:
        names.append(FEATURES[recipe.cleaning][0])
    digests = tokeniser_fingerprint()
    return {name: digests[name] for name in names}


def _probes(name: str) -> tuple[str, ...]:
    return _UNICODE_PROBES if name.startswith("unicode") else _PROBES


def _all_distinct(split: Split) -> Split:
    return lambda text: dict.fromkeys(split(text))


def _joined(split: Split) -> Callable[[str], str]:
    largest = 2**32

    def joined(text: str) -> str:
        return " ".join(f"{_bucket(part, WORD_SEED, largest)}" for part in split(text))

    return joined


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
