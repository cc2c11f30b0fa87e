"""Words of somebody else's: always one line, always visible, never longer than they may be."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.quoting import OneLineFormatter, escaped, quoted, readable_json

anything = st.text(st.characters(exclude_categories=()))
BAD = ["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]


def fail(text: str) -> None:
    raise ValueError(text)


def is_seen(text: str) -> bool:
    joiners = "\u200c\u200d"
    return not any(unicodedata.category(c) in BAD and c not in joiners for c in text)


@given(anything)
def test_what_is_escaped_is_one_visible_line(text: str) -> None:
    shown = escaped(text)
    assert is_seen(shown)
    assert shown.splitlines() in ([shown], [])
    shown.encode("utf-8")


@given(anything, st.integers(1, 50))
def test_a_quotation_is_bounded_and_cannot_be_ended(text: str, at_most: int) -> None:
    shown = quoted(text, at_most)
    assert shown[0] == shown[-1] == '"'
    assert '"' not in shown[1:-1]
    assert is_seen(shown)
    assert len(shown) <= 10 * at_most + len('"..."')


@given(anything)
def test_readable_json_is_the_same_text_and_shows_all_of_it(text: str) -> None:
    # no text of a message has these: it is decoded with "replace"
    assume(not any(0xD800 <= ord(c) <= 0xDFFF for c in text))
    written = readable_json({"text": text})
    assert json.loads(written) == {"text": text}
    assert is_seen(written)


def test_common_writing_stays_as_it_is() -> None:
    for text in ("Grüße, £5!", "नमस्ते दुनिया", "مرحبا", "สวัสดี", "👩\u200d👧 ok", "日本語"):
        assert escaped(text) == text
    assert escaped("a\u00a0b") == "a b"
    assert escaped("\x1b[2J\u202e\r\n") == "\\x1b[2J\\u202e\\r\\n"


@given(anything)
def test_a_record_is_one_line_and_its_trace_stands_apart(text: str) -> None:
    formatter = OneLineFormatter("%(levelname)s %(message)s")
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - whatever the text
        fail(text)
    exc = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("x", logging.ERROR, "", 1, "said %s", (text,), exc)
    head, *trace = formatter.format(record).split("\n")
    assert head == f"ERROR said {escaped(text)}"
    assert trace
    assert all(line.startswith("    ") and is_seen(line) for line in trace)


@pytest.mark.parametrize("letter", ["a", "\u202e", "\u00a0", "\u65e5"])
def test_what_is_too_long_ends_in_dots_exactly_from_the_bound_on(letter: str) -> None:
    shown = escaped(letter)
    assert escaped(letter * 10, 10) == shown * 10
    assert escaped(letter * 9, 10) == shown * 9
    assert escaped(letter * 11, 10) == shown * 10 + "..."
    assert escaped(letter * 11, 0) == escaped(letter * 11) == shown * 11


def test_a_peers_words_are_quoted_up_to_500_characters() -> None:
    assert quoted("x" * 500) == '"' + "x" * 500 + '"'
    assert quoted("x" * 501) == '"' + "x" * 500 + '..."'
    assert quoted('say "no"') == "\"say 'no'\""


def test_json_keeps_every_scripts_letters() -> None:
    assert (
        readable_json({"text": "Gr\u00fc\u00dfe \u65e5\u672c"})
        == '{"text": "Gr\u00fc\u00dfe \u65e5\u672c"}'
    )
    assert readable_json({"text": "a\u202eb"}) == '{"text": "a\\u202eb"}'


def test_a_record_without_a_trace_is_its_line_alone() -> None:
    formatter = OneLineFormatter("%(levelname)s %(message)s")
    record = logging.LogRecord("x", logging.INFO, "", 1, "two\nlines", (), None)
    assert formatter.format(record) == "INFO two\\nlines"
