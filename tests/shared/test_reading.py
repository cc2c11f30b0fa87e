"""Bytes of unknown origin: encodings, phones' backups, TOML with a mark."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import DataError
from shared.files import read_toml
from shared.reading import memory_file
from shared.reading.encodings import decode
from shared.reading.sms_backup import received
from tests.helpers.watched_text import WatchedText


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-8", "utf-16-be"])
def test_marks_and_zero_bytes_give_the_encoding_away(encoding: str) -> None:
    text = "Café, 7 o'clock 🙂\n" * 5
    assert decode(text.encode(encoding)).text == text


def test_one_line_of_another_encoding_does_not_change_that_of_the_others() -> None:
    data = "mañana\nolé\n".encode() + b"\xa35 off\n"
    decoded = decode(data)
    assert decoded.encoding == "utf-8"
    assert decoded.text == "mañana\nolé\n\udca35 off\n"


def test_bytes_that_cp1252_lacks_are_latin_1() -> None:
    assert decode("Grüße\x81 für dich\n".encode("latin-1") * 9).encoding == "latin-1"


def test_a_backups_emoji_and_control_characters_are_repaired() -> None:
    xml = (
        "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n<smses count=\"2\">"
        '<sms address="1" date="2" type="1" body="ok &#55357;&#56898; &#0;&#xD83D; &amp;" />'
        '<sms address="1" date="3" type="2" body="mine" /></smses>'
    )
    (one,) = received(decode(xml.encode()), "sms.xml")
    assert (one.date, one.text) == ("2", "ok 🙂 \ufffd\ufffd &")


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfrounds = 2\n")
    assert read_toml(tmp_path / "a.toml", "settings", "") == {"rounds": 2}


PARTS = st.sampled_from(
    [
        "a",
        ">",
        "&amp;",
        "&#55357;",
        "&#56898;",
        "&#55357;&#56898;",
        "&#x1F;",
        "&#0;",
        "é",
        "🙂",
        "&#10;",
    ]
)


@settings(max_examples=200)
@given(st.lists(st.lists(PARTS, max_size=8).map("".join), max_size=6), st.integers(1, 40))
def test_a_backup_is_read_in_pieces_as_it_is_at_once(bodies: list[str], piece: int) -> None:
    lines = [f'<sms date="{n}" type="1" body="{body}"/>' for n, body in enumerate(bodies)]
    xml = f"<?xml version='1.0' encoding='UTF-8'?>\n<smses>\n{'<!-- -->'.join(lines)}</smses>\n"
    whole = list(received(decode(xml.encode()), "sms.xml"))
    assert [one.date for one in whole] == [str(n) for n in range(len(bodies))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        assert list(received(decode(xml.encode()), "sms.xml")) == whole


def test_a_backup_that_is_torn_gives_what_stands_before_and_an_error() -> None:
    xml = '<smses><sms type="1" body="one"/><sms type="1" body="two'
    messages = received(decode(xml.encode()), "sms.xml")
    assert next(messages).text == "one"
    with pytest.raises(DataError, match=r"sms\.xml is not XML"):
        next(messages)
    with pytest.raises(DataError, match="its root is 'sms'"):
        next(received(decode(b'<sms type="1" body="one"/>'), "sms.xml"))


def test_a_part_of_a_backup_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_file, "PIECE", 64)
    line = '<sms type="1" body="hello"/>\n'
    text = WatchedText(f"<smses>{line * 1000}</smses>")
    assert next(received(text, "sms.xml")).text == "hello"
    assert len(text.seen) <= 2
