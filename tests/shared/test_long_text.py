"""A text that is decoded in pieces is the text that it is as a whole, damaged files included."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.reading import long_text, memory_file
from shared.reading.long_text import LongText, is_decodable
from shared.reading.memory_file import MemoryFile

ENCODINGS = st.sampled_from([*sorted(long_text._BY_PIECES), "gb18030", "shift_jis", "utf-16"])
TEXTS = st.text(st.sampled_from("aé€🙂,;\t\"'\r\n\ufeff\ufffd й"), max_size=30)


def as_a_whole(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding, "surrogateescape")
    except UnicodeError:
        text = data.decode(encoding, "replace").replace("\ufffd", "\udcff")
    return text.removeprefix("\ufeff")


@given(ENCODINGS, TEXTS, st.binary(max_size=6), st.integers(0, 40), st.integers(1, 7))
def test_pieces_are_those_of_the_whole(
    encoding: str, text: str, damage: bytes, place: int, piece: int
) -> None:
    data = text.encode(encoding, "ignore")
    data = data[:place] + damage + data[place + len(damage) :]
    whole = as_a_whole(data, encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        found = LongText(MemoryFile(data), encoding)
        assert found.text == whole
        assert found.head(5) == whole[:5]
        assert found.count("a") == whole.count("a")
        assert ("€" in found) == ("€" in whole)
        lines = whole.split("\n") if "\n" in whole else whole.split("\r")
        cut = [line.removesuffix("\r") for line in lines] if "\n" in whole else lines
        assert list(found.lines()) == cut
        expected = [one for one in re.split(r"(?<=\n)|(?<=\r)(?!\n)", whole) if one]
        assert list(found.lines_with_ends()) == expected


@given(ENCODINGS, st.binary(max_size=12), st.integers(1, 4))
def test_what_is_of_an_encoding_is_told_in_pieces(encoding: str, data: bytes, piece: int) -> None:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        expected = False
    else:
        expected = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        assert is_decodable(MemoryFile(data), encoding) == expected
