"""The cleaning for every language: Unicode's words, and what spam writes them with put right.

It reads a message's first 40,000 characters. Of ASCII text it gives what `styled-words` gives.
Other text is first folded: normalised (NFKC: full-width letters, ligatures, composed accents),
without characters that nobody sees, with ASCII digits, and with Latin letters where a word mixes
them with Cyrillic or Greek look-alikes. Then a run of letters and their combining marks is cut at
the word boundaries of Unicode Standard Annex #29: Chinese and Thai, which write no spaces, give a
token a character or cluster, and their pairs are features.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain

import regex

from shared.model.words import (
    MAX_CHARACTERS,
    classes,
    runs,
    style_of,
    words_and_pairs,
)

_UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_OTHER_DIGITS = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
_RUNS = regex.compile(r"[\p{L}\p{M}]+")
_BOUNDARY = regex.compile(r"(?w)\b", regex.V1)
_LATIN = regex.compile(r"\p{Script=Latin}")
_APOSTROPHES = str.maketrans("\u2019\u02bc", "''")

# Letters of Cyrillic and Greek whose skeleton is one Latin letter: Unicode Technical Standard #39,
# confusables.txt; those alone that are one in the fonts of phones.
_CYRILLIC = dict(
    zip("аеорсухіјѕһԁԛԝАВЕКМНОРСТХІЈЅԚԜ", "aeopcyxijshdqwABEKMHOPCTXIJSQW", strict=True)
)
_GREEK = dict(zip("αονιρυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aovipuABEZHIKMNOPTYX", strict=True))
_ALIKE = str.maketrans(_CYRILLIC | _GREEK)
_ANY_ALIKE = re.compile(f"[{''.join(_CYRILLIC | _GREEK)}]")

# A name's labels have 63 characters and a mailbox 64; with bounds on all that is tried anew from
# each character on, no text takes longer than its length.
_LINK = r"(?:https?://|www\.)\S+|\b[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}\.(?:com|co\.uk|net|org|uk|tv|biz|info)\b\S*"
_MAIL = r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}"
_PHONE = r"\+?\d(?:[\s-]?\d){9,}"
_NUMBER = r"\d(?:[\d,.:/]*\d)?"
_FACES = r"[:;=]-?[()DPpoO/|*]"

_ASCII_PIECES = re.compile(
    rf"""(?P<link>{_LINK})
      | (?P<mail>{_MAIL})
      | (?P<money>\$\s?\d[\d,.]*|\b\d[\d,.]{{0,63}}\s?(?:pounds?|gbp|usd|eur)\b)
      | (?P<phone>{_PHONE})
      | (?P<mixed>\d{{1,63}}(?:[.,]\d{{1,63}})?(?=[^\W\d])\w+|[^\W\d]{{1,63}}\d\w*)
      | (?P<number>{_NUMBER})
      | (?P<word>[^\W\d_]+(?:'[^\W\d_]+)?)
      | (?P<faces>{_FACES})
      | (?P<marks>[!?]+|\.{{2,}}|[$&\#*@<>+=/])""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_PIECES = regex.compile(
    rf"""(?P<link>{_LINK})
      | (?P<mail>{_MAIL})
      | (?P<money>\p{{Sc}}\s?\d[\d,.]*
        |\b\d[\d,.]{{0,63}}\s?(?:(?:pounds?|gbp|usd|eur)\b|\p{{Sc}}(?!\s?\d)))
      | (?P<phone>{_PHONE})
      | (?P<mixed>\d{{1,63}}(?:[.,]\d{{1,63}})?(?=[\p{{L}}_])[\w\p{{M}}]+
        |[\p{{L}}_][\p{{L}}\p{{M}}_]{{0,62}}\d[\w\p{{M}}]*)
      | (?P<number>{_NUMBER})
      | (?P<word>[\p{{L}}\p{{M}}]+(?:'[\p{{L}}\p{{M}}]+)?)
      | (?P<emoji>\p{{Extended_Pictographic}}|\p{{Regional_Indicator}}{{2}})
      | (?P<faces>{_FACES})
      | (?P<marks>[!?]+|\.{{2,}}|[\p{{Sc}}&\#*@<>+=/])""",
    regex.VERBOSE | regex.IGNORECASE | regex.V0,
)


def fold(text: str) -> str:
    """The text as its reader sees it, in the fewest characters of Unicode.

    Characters that nobody sees are gone, compatible ones are one (NFKC), digits are ASCII, and
    look-alikes in a word that is Latin otherwise are Latin letters.
    """
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).translate(_APOSTROPHES)
    text = _OTHER_DIGITS.sub(lambda digit: str(unicodedata.digit(digit[0], 0)), text)
    if _ANY_ALIKE.search(text) is None:
        return text
    return _RUNS.sub(lambda run: _unmasked(run[0]), text)


def _unmasked(run: str) -> str:
    """A run of letters in Latin alone, where look-alikes are all that keeps it from being so."""
    if run.isascii():
        return run
    latin = run.translate(_ALIKE)
    mixed = latin != run and _LATIN.search(run)
    return latin if mixed and all(_LATIN.match(c) for c in latin if c.isalpha()) else run


def unicode_words(text: str) -> Iterator[str]:
    """The message's style, then its words and class tokens, one by one."""
    plain = fold(html.unescape(text[:MAX_CHARACTERS]))
    return chain(style_of(plain), words_of(plain))


def unicode_features(text: str) -> Iterator[str]:
    """Style tokens, words, pairs of words, and then runs of characters, with repeats."""
    text = text[:MAX_CHARACTERS]
    plain = fold(html.unescape(text))
    return chain(style_of(plain), words_and_pairs(list(words_of(plain))), runs(fold(text)))


def words_of(folded: str) -> Iterator[str]:
    """The words and class tokens of folded text, one by one."""
    return ascii_words(folded) if folded.isascii() else other_words(folded)


def ascii_words(folded: str) -> Iterator[str]:
    """The words and class tokens of a folded text that is ASCII, one by one."""
    if folded.isalpha() and folded.isascii():
        yield from classes("word", folded)  # as the pattern would find, sooner
        return
    for match in _ASCII_PIECES.finditer(folded):
        yield from classes(match.lastgroup or "", match.group())


def other_words(folded: str) -> Iterator[str]:
    """The same of one that is not, or of a part of it."""
    if folded.isalpha() and folded.isascii():
        yield from classes("word", folded)
        return
    for match in _PIECES.finditer(folded):
        kind, piece = match.lastgroup or "", match.group()
        if kind == "word" and not piece.isascii():
            for word in _BOUNDARY.split(piece):
                if word:
                    yield from classes(kind, word)
        elif kind == "emoji":
            yield f"<{piece}>"
        else:
            yield from classes(kind, piece)
