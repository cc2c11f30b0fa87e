"""A text that is decoded in pieces whenever it is gone through, and held by nobody as a whole.

As one string of Python's, a text with a single curly quote takes two bytes a character, and with a
single emoji four.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import cached_property

from shared.reading.memory_file import MemoryFile

_BY_PIECES = frozenset(
    codecs.lookup(name).name
    for name in (
        *("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "ascii", "latin-1"),
        *("iso8859_15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256"),
        *("koi8_r", "cp874", "cp437", "cp850", "mac_roman"),
    )
)
"""Encodings whose pieces are those of the whole, damaged files included. Of the others, some have
states that an error resets at another place; a damaged text of theirs is decoded as a whole."""
_WIDE = ("utf-16", "utf-32")
_MARK = "\ufeff"
# with its end, as a quoted cell that spans lines keeps it
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class LongText:
    """The text of a file's bytes.

    A byte order mark is no part of it; a byte that is none of the encoding is a lone surrogate.

    Args:
        encoding: one that Python knows, as `encodings.checked` gives it.
    """

    def __init__(self, file: MemoryFile, encoding: str) -> None:
        self._file = file
        self.encoding = encoding

    @cached_property
    def _by_pieces(self) -> bool:
        name = codecs.lookup(self.encoding).name
        return name in _BY_PIECES or is_decodable(self._file, self.encoding)

    @property
    def text(self) -> str:
        """All of it, made anew."""
        return "".join(self.pieces())

    def head(self, length: int) -> str:
        """Its first characters."""
        found = ""
        for piece in self.pieces():
            found += piece
            if len(found) >= length:
                break
        return found[:length]

    def pieces(self) -> Iterator[str]:
        """All of it in order, each piece some bytes at least."""
        pieces = self._decoded(self._errors)
        for first in pieces:
            yield first.removeprefix(_MARK)
            break
        yield from pieces

    def lines(self) -> Iterator[str]:
        """Lines that end in LF, CRLF or, where no line does, in CR, one by one, without the end."""
        end = "\n" if "\n" in self else "\r"
        begun: list[str] = []
        for piece in self.pieces():
            first, *others = piece.split(end)
            begun.append(first)
            if others:
                yield _without_cr("".join(begun), end)
                for line in others[:-1]:
                    yield _without_cr(line, end)
                begun = others[-1:]
        yield _without_cr("".join(begun), end)

    def lines_with_ends(self) -> Iterator[str]:
        """Lines that end in LF, CRLF or CR, with that end, as the csv module takes them."""
        begun: list[str] = []
        for piece in self.pieces():
            begun.append(piece)
            if not ("\n" in piece or "\r" in piece or begun[0].endswith("\r")):
                continue
            block = "".join(begun)
            # a CR at the very end may be the first half of a CRLF
            cut = max(block.rfind("\n"), block.rfind("\r", 0, len(block) - 1)) + 1
            yield from _LINES.findall(block[:cut])
            begun = [block[cut:]]
        yield from _LINES.findall("".join(begun))

    def count(self, character: str) -> int:
        return sum(piece.count(character) for piece in self.pieces())

    def __contains__(self, character: str) -> bool:
        return any(character in piece for piece in self.pieces())

    @cached_property
    def _errors(self) -> str:
        """How bytes that are none of the encoding are met: the wide ones have no single bytes to
        escape."""
        name = codecs.lookup(self.encoding).name
        if self._by_pieces and not name.startswith(_WIDE):
            return "surrogateescape"
        try:
            for _ in self._decoded("surrogateescape"):
                pass
        except UnicodeError:
            return "replace"
        return "surrogateescape"

    def _decoded(self, errors: str) -> Iterator[str]:
        if self._by_pieces:
            pieces = _pieces(self._file, self.encoding, errors)
        else:
            pieces = iter([self._file.read(0, len(self._file)).decode(self.encoding, errors)])
        for piece in pieces:
            yield piece.replace("\ufffd", "\udcff") if errors == "replace" else piece


def is_decodable(file: MemoryFile, encoding: str) -> bool:
    """Whether all bytes are of the encoding, read in pieces: "utf-16" and "utf-32" must begin with
    a mark then."""
    try:
        for _ in _pieces(file, encoding, "strict"):
            pass
    except UnicodeError:
        return False
    return True


def _pieces(file: MemoryFile, encoding: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for piece in file.pieces():
        if found := decoder.decode(piece):
            yield found
    if rest := decoder.decode(b"", final=True):
        yield rest


def _without_cr(line: str, end: str) -> str:
    return line.removesuffix("\r") if end == "\n" else line
