"""A text of which a test sees how far it was read."""

from __future__ import annotations

from collections.abc import Iterator

from shared.reading.long_text import LongText
from shared.reading.memory_file import MemoryFile


class WatchedText(LongText):
    """seen: the pieces that were asked for so far."""

    def __init__(self, content: str) -> None:
        super().__init__(MemoryFile(content.encode()), "utf-8")
        self.seen: list[str] = []

    def pieces(self) -> Iterator[str]:
        for piece in super().pieces():
            self.seen.append(piece)
            yield piece
