"""Android's "SMS Backup & Restore": the messages of a phone as XML.

    <smses count="2">
      <sms address="+447700900123" date="1290000000000" type="1" body="..." />

type 1 is a message that came in; the others were written here, or are drafts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from shared.errors import DataError
from shared.reading.encodings import decode

_RECEIVED = "1"
# The app writes an emoji as two references to halves of a surrogate pair, which no XML may hold.
_PAIR = re.compile(r"&#(5[56]\d{3});&#(5[67]\d{3});")
_REFERENCE = re.compile(r"&#(?:(\d{1,8})|x([0-9a-fA-F]{1,6}));")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One received message. date: milliseconds since 1970, as the file has it, in digits."""

    date: str
    address: str
    text: str


def is_backup(head: str) -> bool:
    """Whether a file that begins so is such a backup."""
    return "<smses" in head[:4096]


def received(data: bytes, source: str, encoding: str | None = None) -> list[BackedUp]:
    """The messages that came in, in the file's order.

    Args:
        source: the file's name, for errors.

    Raises:
        DataError: it is no such backup, or is damaged.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    text = _DECLARATION.sub("", decode(data, encoding).text, count=1)
    try:
        # as bytes: the declaration that named the encoding is gone
        root = fromstring(_repaired(text).encode("utf-8", "replace"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise DataError(f"{source} is not XML", str(error), "Make the backup anew.") from error
    if root.tag != "smses":
        raise DataError(
            f"{source} is no backup of messages",
            f"its root is {root.tag!r}, not 'smses'",
            "Name a file that SMS Backup & Restore made.",
        )
    return [
        BackedUp(one.get("date", ""), one.get("address", ""), one.get("body", ""))
        for one in root.iter("sms")
        if one.get("type") == _RECEIVED
    ]


def _repaired(text: str) -> str:
    """XML that may be read: whole emoji, and no references to what is no character."""
    return _REFERENCE.sub(_possible, _PAIR.sub(_joined, text))


def _joined(pair: re.Match[str]) -> str:
    high, low = int(pair[1]), int(pair[2])
    if not (0xD800 <= high < 0xDC00 <= low < 0xE000):
        return pair[0]
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _possible(reference: re.Match[str]) -> str:
    number = int(reference[1]) if reference[1] else int(reference[2], 16)
    control = number < 0x20 and number not in (0x09, 0x0A, 0x0D)
    half = 0xD800 <= number < 0xE000
    no_character = number > 0x10FFFF or number in (0xFFFE, 0xFFFF)
    return "\ufffd" if control or half or no_character else reference[0]
