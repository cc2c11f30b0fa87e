"""The items of a JSON array one after another, of a text of which a part is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder

from shared.reading.long_text import LongText

_SPACE = " \t\n\r"
_DECODER = JSONDecoder()
_LONGEST_REST = 3
"""Characters by which a number may be cut short and still be one: those of "e+1"."""


class NoArray(Exception):
    """What a text holds in place of an array, by its type's name."""


def items_of(text: LongText) -> Iterator[object]:
    """What `json.loads` makes of the text, item by item.

    Raises:
        NoArray: the text is JSON, and no array.
        ValueError: the text is no JSON; once what stands before was given.
        RecursionError: an item is nested too deeply.
    """
    window = _Window(text.pieces())
    if window.next() != "[":
        value = window.value()
        window.end()
        raise NoArray(type(value).__name__)
    window.step()
    if window.next() != "]":
        yield window.value()
        while window.next() == ",":
            window.step()
            window.next()
            yield window.value()
    if window.next() != "]":
        raise window.error("Expecting ',' delimiter")
    window.step()
    window.end()


class _Window:
    """The part of a text that is looked at, and where in it."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._place = 0
        # of what was left behind: characters, line ends, and characters of the last line
        self._before, self._lines, self._column = 0, 0, 0

    def next(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._place < len(self._text):
                character = self._text[self._place]
                if character not in _SPACE:
                    return character
                self._place += 1
            if not self._grow():
                return ""

    def step(self) -> None:
        self._place += 1

    def end(self) -> None:
        """Raises ValueError where more than spaces follows."""
        if self.next():
            raise self.error("Extra data")

    def value(self) -> object:
        """The value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._place)
            except (ValueError, RecursionError) as error:
                into = error.pos - self._place if isinstance(error, JSONDecodeError) else 0
                if self._grow():
                    continue
                if isinstance(error, JSONDecodeError):
                    raise self.error(error.msg, self._place + into) from error
                raise
            length = end - self._place
            if len(self._text) - end >= _LONGEST_REST or not self._grow():
                self._place += length
                return value

    def error(self, what: str, place: int | None = None) -> ValueError:
        """As the json module tells of it, with places in the whole text."""
        place = self._place if place is None else place
        line = self._text.count("\n", 0, place)
        start = self._text.rfind("\n", 0, place) + 1
        column = place - start + 1 + (0 if line else self._column)
        at = f"line {self._lines + line + 1} column {column} (char {self._before + place})"
        return ValueError(f"{what}: {at}")

    def _grow(self) -> bool:
        """Leaves behind what was gone through, and takes at least as much as is left."""
        gone = self._text[: self._place]
        self._before += len(gone)
        self._lines += gone.count("\n")
        last = len(gone) - (gone.rfind("\n") + 1)
        self._column = last if "\n" in gone else self._column + last
        parts = [self._text[self._place :]]
        self._place = 0
        wanted = max(1, len(parts[0]))
        for piece in self._pieces:
            parts.append(piece)
            wanted -= len(piece)
            if wanted <= 0:
                break
        self._text = "".join(parts)
        return len(parts) > 1
