"""An array that is read a piece at a time is the array that the json module reads at once."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DataError
from shared.reading import memory_file
from shared.reading.long_text import LongText
from shared.reading.memory_file import MemoryFile
from tests.helpers.watched_text import WatchedText
from worker_node.data.json_array import items_of
from worker_node.data.messages import Layout, Message, read_messages

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.sampled_from('a"\\é🙂\n ]},'), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def text_of(data: str) -> LongText:
    return LongText(MemoryFile(data.encode()), "utf-8")


@settings(max_examples=300)
@given(
    st.lists(VALUES, max_size=5),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
    st.integers(1, 9),
)
def test_items_are_those_of_the_whole(
    items: list[object], indent: int | None, escaped: bool, piece: int
) -> None:
    written = f"\n {json.dumps(items, indent=indent, ensure_ascii=escaped)}\r\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        assert list(items_of(text_of(written))) == json.loads(written)


@settings(max_examples=500)
@given(
    st.text(st.sampled_from('[]{},:"\\ \n0123456789.eE+-aé'), max_size=12),
    st.lists(VALUES, max_size=3),
    st.integers(0, 20),
    st.integers(1, 9),
)
def test_what_is_damaged_is_found_where_the_json_module_finds_it(
    damage: str, items: list[object], place: int, piece: int
) -> None:
    whole = json.dumps(items)
    written = "[" + (whole[1:place] + damage + whole[place:])[:-1].rstrip(",") + "]"
    try:
        expected: object = json.loads(written)
    except json.JSONDecodeError as error:
        expected = f"line {error.lineno} column {error.colno} (char {error.pos})"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        try:
            found: object = list(items_of(text_of(written)))
        except ValueError as error:
            found = str(error).partition(": ")[2]
    if re.search(r",\s*\]", written):  # later releases of Python tell the comma's place
        assert isinstance(found, str) == isinstance(expected, str)
    else:
        assert found == expected


@pytest.mark.parametrize("number", ["-12.5e+10", "0.25", "1E-3", "-Infinity", "123456789012345678"])
@pytest.mark.parametrize("piece", range(1, 10))
def test_a_number_is_read_to_its_end_wherever_a_piece_ends(
    number: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_file, "PIECE", piece)
    assert list(items_of(text_of(f"[{number}]"))) == [json.loads(number)]
    assert list(items_of(text_of(f"[{number} , {number}]"))) == [json.loads(number)] * 2


def test_one_item_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_file, "PIECE", 64)
    written = json.dumps([{"label": "ham", "text": "hello"}] * 1000)
    text = WatchedText(written)
    next(items_of(text))
    assert sum(map(len, text.seen)) <= 2 * 64


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('[{"label": "ham", "text": "a"},\n {"label": "ham" "text": "b"}]', "line 2 column 18"),
        ('[{"label": "ham", "text": "a"}', "line 1 column 31"),
        ('[{"label": "ham", "text": "a"}] x', "Extra data: line 1 column 33"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_damaged_array_is_one_error(tmp_path: Path, written: str, words: str) -> None:
    (tmp_path / "m.json").write_text(written)
    with pytest.raises(DataError, match="is not JSON") as caught:
        read_messages(tmp_path / "m.json")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("written", "words"),
    [('{"a": [1]}', "it is one dict"), (" 7", "it is one int"), ("", "char 0")],
)
def test_what_is_no_array_says_what_it_is(tmp_path: Path, written: str, words: str) -> None:
    (tmp_path / "m.json").write_text(written)
    with pytest.raises(DataError, match=words):
        read_messages(tmp_path / "m.json", Layout(format="json"))


def test_an_array_may_begin_behind_any_number_of_spaces(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(
        " \n" * 10_000 + '[{"label": "ham", "text": "a"}, {"label": "spam", "text": "b"}]'
    )
    assert len(read_messages(path, Layout(format="json")).messages) == 2


def test_rows_are_numbered_by_item_and_read_from_several_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_file, "PIECE", 100)
    rows = [{"label": ("ham", "spam")[n % 2], "text": f"number {n}"} for n in range(500)]
    path = tmp_path / "m.json"
    path.write_text(json.dumps(rows))
    assert list(read_messages(path).messages) == [Message(n % 2, f"number {n}") for n in range(500)]
    rows[321]["text"] = ""
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="item 322"):
        read_messages(path)
