"""Bytes of unknown origin: encodings, phones' backups, TOML with a mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.files import read_toml
from shared.reading.encodings import decode
from shared.reading.sms_backup import received


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
    (one,) = received(xml.encode(), "sms.xml")
    assert (one.date, one.text) == ("2", "ok 🙂 \ufffd\ufffd &")


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfrounds = 2\n")
    assert read_toml(tmp_path / "a.toml", "settings", "") == {"rounds": 2}
