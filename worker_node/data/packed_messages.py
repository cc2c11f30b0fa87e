"""Messages that take little more memory than their text, however many there are.

A million messages of 80 characters are 180 MB as Python's objects, and 95 MB here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an owner. label: 0 is ham, 1 is spam."""

    label: int
    text: str


class PackedMessages(Sequence[Message]):
    """Messages in the order in which they were added; each is made anew where it is asked for."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._text = bytearray()
        self._ends = array("q", [0])
        self._labels = bytearray()
        for message in messages:
            self.add(message.label, message.text)

    def add(self, label: int, text: str) -> None:
        """One more message; label: 0 or 1."""
        self._text += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._text))
        self._labels.append(label)

    @property
    def labels(self) -> bytes:
        """A byte a message: 0 is ham, 1 is spam."""
        return bytes(self._labels)

    @property
    def texts(self) -> Texts:
        return Texts(self)

    def text(self, index: int) -> str:
        """The text of a message, index from 0 to below the number of messages."""
        part = self._text[self._ends[index] : self._ends[index + 1]]
        return part.decode("utf-8", "surrogatepass")

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
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedMessages):
            return (self._labels, self._ends, self._text) == (
                other._labels,
                other._ends,
                other._text,
            )
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
        return map(self._messages.text, range(len(self)))


def labels_of(messages: Sequence[Message]) -> bytes:
    """A byte a message, also of messages that are not packed."""
    if isinstance(messages, PackedMessages):
        return messages.labels
    return bytes(message.label for message in messages)
