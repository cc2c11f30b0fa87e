"""A message's features in blocks, each at places of its own in a row: what a linear model weighs.

The features are those of the cleaning `unicode-words` (shared/model/unicode_words.py); a row of
them has the places of BLOCKS (shared/model/recipe.py) one after another, and each block is cut or
padded with 0 to its own.
So the model knows a feature's block by its place, and a long message cannot push one block out of
the row with another.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from itertools import chain, islice, pairwise

from shared.model.recipe import BLOCKS
from shared.model.unicode_words import fold, words_of
from shared.model.words import MAX_CHARACTERS, runs, style_of

CHARACTERS = "characters"


def block_sizes(places: int) -> dict[str, int]:
    """Places of each block in a row of so many, FEWEST_PLACES or more, in their order."""
    return {**BLOCKS, CHARACTERS: places - sum(BLOCKS.values())}


def blocks_of(text: str) -> dict[str, Iterator[str]]:
    """A message's features by block, one by one, with repeats."""
    text = text[:MAX_CHARACTERS]
    plain = fold(html.unescape(text))
    words = list(words_of(plain))
    return {
        "style": iter(style_of(plain)),
        "classes": (f"w {word}" for word in words if word.startswith("<")),
        "words": (f"w {word}" for word in words if not word.startswith("<")),
        "pairs": (f"b {first} {second}" for first, second in pairwise(words)),
        CHARACTERS: runs(fold(text)),
    }


def block_features(text: str) -> Iterator[str]:
    """The features of all blocks, one after another, with repeats."""
    return chain.from_iterable(blocks_of(text).values())


def placed(text: str, places: int) -> Iterator[str | None]:
    """What stands at each place of a row; None where nothing does."""
    features = blocks_of(text)
    for block, size in block_sizes(places).items():
        found = list(islice(_distinct(features[block]), size))
        yield from found
        yield from [None] * (size - len(found))


def _distinct(features: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for feature in features:
        if feature not in seen:
            seen.add(feature)
            yield feature
