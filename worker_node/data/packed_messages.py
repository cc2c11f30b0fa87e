"""Messages that take little more memory than their text, however many there are.

A million messages of 80 characters are 180 MB as Python's objects, and 95 MB here. The rows to
train on and those held out are choices from the same texts, which so are there once; where the
system has files in memory, node and trainer read the same one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import eq
from typing import overload

from shared.reading.memory_file import MemoryFile

_AT_ONCE = 1024
"""Texts that are read together where they lie together."""
_MOST_BYTES = 2**22


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an owner. label: 0 is ham, 1 is spam."""

    label: int
    text: str


class PackedTexts:
    """Texts one behind the other, in UTF-8.

    Args:
        file: the texts. ends: of each, in bytes, after a 0; one to append to.
    """

    def __init__(self, file: MemoryFile | None = None, ends: array[int] | None = None) -> None:
        self.file = MemoryFile() if file is None else file
        self.ends = array("q", [0]) if ends is None else ends

    def add(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.file.write(data)
        self.ends.append(self.ends[-1] + len(data))

    def data(self, number: int) -> bytes:
        return self.file.read(self.ends[number], self.ends[number + 1])

    def data_of(self, numbers: Sequence[int]) -> Iterator[bytes]:
        """Of some of them, numbers rising, read together where they lie near each other."""
        for place in range(0, len(numbers), _AT_ONCE):
            some, ends = numbers[place : place + _AT_ONCE], self.ends
            start, end = ends[some[0]], ends[some[-1] + 1]
            if end - start > _MOST_BYTES:
                yield from map(self.data, some)
                continue
            block = self.file.read(start, end)
            for number in some:
                yield block[ends[number] - start : ends[number + 1] - start]

    def __len__(self) -> int:
        return len(self.ends) - 1


class PackedMessages(Sequence[Message]):
    """Messages in the order in which they were added; each is made anew where it is asked for."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self.packed = PackedTexts()
        self._chosen: array[int] | None = None
        self._labels = bytearray()
        for message in messages:
            self.add(message.label, message.text)

    @classmethod
    def of_texts(
        cls, packed: PackedTexts, labels: bytes, chosen: array[int] | None = None
    ) -> PackedMessages:
        """Some of the texts that are there already, which nothing may be added to from now on.

        Args:
            labels: of each message. chosen: the texts' numbers, rising; None takes all.
        """
        made = cls()
        made.packed, made._labels, made._chosen = packed, bytearray(labels), chosen
        return made

    def add(self, label: int, text: str) -> None:
        """One more message; label: 0 or 1."""
        self.packed.add(text)
        self._labels.append(label)

    def choice(self, rows: Iterable[int]) -> PackedMessages:
        """Some of the messages, row numbers rising; their texts are not copied."""
        labels, numbers = self._labels, self.numbers
        rows = array("I", rows)
        chosen = array("I", map(numbers.__getitem__, rows))
        return PackedMessages.of_texts(self.packed, bytes(map(labels.__getitem__, rows)), chosen)

    @property
    def labels(self) -> bytes:
        """A byte a message: 0 is ham, 1 is spam."""
        return bytes(self._labels)

    @property
    def texts(self) -> Texts:
        return Texts(self)

    @property
    def numbers(self) -> Sequence[int]:
        """Of each message, the number of its text in `packed`."""
        return range(len(self._labels)) if self._chosen is None else self._chosen

    def text(self, index: int) -> str:
        """The text of a message, index from 0 to below the number of messages."""
        return _decoded(self.packed.data(self.numbers[index]))

    def in_utf8(self) -> Iterator[bytes]:
        """All texts, in order."""
        return self.packed.data_of(self.numbers)

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Message, ...]: ...

    def __getitem__(self, index: int | slice) -> Message | tuple[Message, ...]:
        if isinstance(index, slice):
            return tuple(self._at(place) for place in range(*index.indices(len(self))))
        return self._at(range(len(self))[index])

    def _at(self, place: int) -> Message:
        return Message(self._labels[place], self.text(place))

    def __iter__(self) -> Iterator[Message]:
        return map(Message, self._labels, map(_decoded, self.in_utf8()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedMessages):
            return self._labels == other._labels and all(map(eq, self.in_utf8(), other.in_utf8()))
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class Texts(Sequence[str]):
    """The texts of packed messages alone."""

    def __init__(self, messages: PackedMessages) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            return [self._messages.text(place) for place in places]
        return self._messages.text(range(len(self))[index])

    def __iter__(self) -> Iterator[str]:
        return map(_decoded, self._messages.in_utf8())


def in_utf8(messages: Sequence[Message]) -> Iterator[bytes]:
    """The texts of messages, also of such that are not packed."""
    if isinstance(messages, PackedMessages):
        return messages.in_utf8()
    return (one.text.encode("utf-8", "surrogatepass") for one in messages)


def labels_of(messages: Sequence[Message]) -> bytes:
    """A byte a message, also of messages that are not packed."""
    if isinstance(messages, PackedMessages):
        return messages.labels
    return bytes(message.label for message in messages)


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
