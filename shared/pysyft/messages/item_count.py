"""How many values a msgpack message holds, told from its headers before any of them is built.

A message of 64 MiB can hold 64 million numbers: building them takes seconds and gigabytes. Counting
stops as soon as there are too many, so it costs milliseconds at most; the content of strings and
tensors is passed over.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.pysyft.messages.errors import MalformedMessage

MAX_VALUES = 2**15
"""Values in one message; a model's state is one, and a step of pointer operations some hundred."""
SMALL = 4096
"""Bytes of a message that need no counting: they hold at most so many values."""


class _Header(NamedTuple):
    """What follows a value's first byte.

    skip: bytes of a value, or of text, of known size. items: values in it. width: bytes of a length
    that follows; it counts `each` values, or bytes to skip where that is 0.
    """

    skip: int = 0
    items: int = 0
    width: int = 0
    each: int = 0


def _headers() -> list[_Header | None]:
    """By first byte; None for what is no value, and for extensions."""
    found: list[_Header | None] = [_Header()] * 256
    found[0x80:0x90] = [_Header(items=2 * count) for count in range(16)]
    found[0x90:0xA0] = [_Header(items=count) for count in range(16)]
    found[0xA0:0xC0] = [_Header(skip=size) for size in range(32)]
    sized = [_Header(width=width) for width in (1, 2, 4)]
    found[0xC4:0xC7], found[0xD9:0xDC] = sized, sized
    found[0xCA:0xD4] = [_Header(skip=size) for size in (4, 8, 1, 2, 4, 8, 1, 2, 4, 8)]
    found[0xDC:0xE0] = [_Header(width=width, each=each) for each in (1, 2) for width in (2, 4)]
    extensions = (0xC1, *range(0xC7, 0xCA), *range(0xD4, 0xD9))
    for first in extensions:
        found[first] = None
    return found


_HEADERS = _headers()


def check(view: memoryview) -> None:
    """Raises MalformedMessage where there are more than MAX_VALUES values, or an extension.

    Where the message is not msgpack at all, msgpack itself says so later.
    """
    if len(view) <= SMALL:
        return
    position, end, expected, seen = 0, len(view), 1, 0
    while expected and position < end:
        header = _HEADERS[view[position]]
        if header is None:
            raise MalformedMessage("a message holds a msgpack extension")
        skip, items, width, each = header
        position += 1 + skip
        if width:
            length = int.from_bytes(view[position : position + width], "big")
            position += width
            if each:
                items = each * length
            else:
                position += length
        seen += 1
        expected += items - 1
        if seen + expected > MAX_VALUES:
            raise MalformedMessage(f"a message holds more than {MAX_VALUES} values")
