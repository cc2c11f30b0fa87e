"""Android's "SMS Backup & Restore": the messages of a phone as XML.

    <smses count="2">
      <sms address="+447700900123" date="1290000000000" type="1" body="..." />

type 1 is a message that came in; the others were written here, or are drafts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import ParseError

from shared.errors import DataError
from shared.reading.long_text import LongText

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


def received(text: LongText, source: str) -> Iterator[BackedUp]:
    """The messages that came in, in the file's order, of which a piece is in memory at a time.

    Args:
        source: the file's name, for errors.

    Raises:
        DataError: it is no such backup, or is damaged; once what stands before was given.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    met = _Met()
    parser = DefusedXMLParser(target=met, forbid_dtd=True)
    try:
        for part in _repaired(text):
            # as bytes: the declaration that named the encoding is gone
            parser.feed(part.encode("utf-8", "replace"))
            if met.root not in ("smses", None):
                raise _no_backup(source, met.root)
            yield from met.taken()
        parser.close()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise DataError(f"{source} is not XML", str(error), "Make the backup anew.") from error


def _no_backup(source: str, root: str | None) -> DataError:
    return DataError(
        f"{source} is no backup of messages",
        f"its root is {root!r}, not 'smses'",
        "Name a file that SMS Backup & Restore made.",
    )


class _Met:
    """What a parser of XML meets. root: the outermost element's name, None before it came."""

    def __init__(self) -> None:
        self.root: str | None = None
        self._messages: list[BackedUp] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.root = self.root or tag
        if tag == "sms" and attributes.get("type") == _RECEIVED:
            date, address, body = (attributes.get(name, "") for name in ("date", "address", "body"))
            self._messages.append(BackedUp(date, address, body))

    def taken(self) -> list[BackedUp]:
        """The messages since the last call."""
        messages, self._messages = self._messages, []
        return messages


def _repaired(text: LongText) -> Iterator[str]:
    """XML that may be read: whole emoji, and no references to what is no character."""
    rest = ""
    is_begun = False
    for piece in text.pieces():
        rest += piece
        if not is_begun:
            if ">" not in rest:
                continue
            rest, is_begun = _DECLARATION.sub("", rest, count=1), True
        # what is put right never spans the beginning of an element
        part, element, begun = rest.rpartition("<")
        yield _mended(part)
        rest = element + begun
    yield _mended(rest)


def _mended(part: str) -> str:
    return _REFERENCE.sub(_possible, _PAIR.sub(_joined, part))


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
