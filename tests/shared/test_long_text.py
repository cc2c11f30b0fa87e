"""A text that is decoded in pieces is the text that it is as a whole, damaged files included."""

from __future__ import annotations

import encodings.aliases
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.reading import long_text, memory_file
from shared.reading.long_text import LongText, is_decodable
from shared.reading.memory_file import MemoryFile


def is_of_text(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, UnicodeError):  # base64, or Windows' own
        return False
    return name not in ("idna", "punycode")  # of names, which are no texts


ENCODINGS = sorted(filter(is_of_text, set(encodings.aliases.aliases.values())))
BY_PIECES = sorted(long_text._BY_PIECES)
TEXTS = st.text(st.sampled_from("aé€🙂,;\t\"'\r\n\ufeff\ufffd й"), max_size=30)


def as_a_whole(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding, "surrogateescape")
    except UnicodeError:
        text = data.decode(encoding, "replace").replace("\ufffd", "\udcff")
    return text.removeprefix("\ufeff")


@given(
    st.sampled_from(BY_PIECES) | st.sampled_from(ENCODINGS),
    TEXTS,
    st.binary(max_size=6),
    st.integers(0, 40),
    st.integers(1, 7),
)
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


ESCAPES = b"\x1b$B(J~{}+-\x0e\x0fA"
BYTES = st.binary(max_size=12) | st.lists(st.sampled_from(ESCAPES), max_size=12).map(bytes)


@settings(max_examples=1000)
@given(st.sampled_from(ENCODINGS), BYTES, TEXTS, st.integers(1, 4))
def test_what_is_of_an_encoding_is_told_in_pieces(
    encoding: str, data: bytes, text: str, piece: int
) -> None:
    data = text.encode(encoding, "ignore") + data
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        expected = False
    else:
        expected = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        assert is_decodable(MemoryFile(data), encoding) == expected


@pytest.mark.parametrize("encoding", ["gb18030", "shift_jis", "iso2022_jp", "utf-7"])
def test_what_is_not_damaged_is_at_no_time_all_in_memory(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "ham\tこんにちは、7時に\n" * 100
    monkeypatch.setattr(memory_file, "PIECE", 64)
    pieces = list(LongText(MemoryFile(text.encode(encoding)), encoding).pieces())
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 64
