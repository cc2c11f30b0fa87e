"""An owner's rows on their way from the node to its trainer.

The texts of many rows lie in a file in memory (shared/reading/memory_file.py). The trainer is given
that file over a socket, and reads what the node reads: they are there once. Few rows, and those of
a system that has no such files, go over the pipe.
"""

from __future__ import annotations

import socket
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from shared.reading.memory_file import MemoryFile
from worker_node.data.packed_messages import Message, PackedMessages, PackedTexts
from worker_node.data.shard import Shard
from worker_node.training import KEPT_BYTES

_ROWS_AT_ONCE = 4096
_NUMBERS_AT_ONCE = 2**17

Request = dict[str, Any]


def load_requests(
    shard: Shard, files: socket.socket | None, kept_bytes: int = KEPT_BYTES
) -> Iterator[Request]:
    """What a trainer has to be asked so that it holds a shard, in pieces, each to be answered
    before the next.

    Args:
        files: the way to the trainer for files; None sends all over the pipe.
        kept_bytes: of encoded rows that it keeps of each part; 0 keeps none.
    """
    yield {"op": "forget"}
    shared: list[PackedTexts] = []
    for part, messages in (("train", shard.train), ("held_out", shard.held_out)):
        packed = messages.packed if isinstance(messages, PackedMessages) else None
        if files is None or packed is None or packed.file.finished() is None:
            yield from _over_the_pipe(part, messages)
            continue
        assert isinstance(messages, PackedMessages)
        if not any(packed is one for one in shared):
            yield from _shared(packed, files)
            shared.append(packed)
        yield from _chosen(part, messages)
    yield {"op": "loaded", "most_scored": shard.most_scored, "kept_bytes": kept_bytes}


def _over_the_pipe(part: str, messages: Sequence[Message]) -> Iterator[Request]:
    for start in range(0, len(messages), _ROWS_AT_ONCE):
        rows = messages[start : start + _ROWS_AT_ONCE]
        texts, labels = [row.text for row in rows], [row.label for row in rows]
        yield {"op": "load", "part": part, "texts": texts, "labels": labels}


def _shared(packed: PackedTexts, files: socket.socket) -> Iterator[Request]:
    descriptor = packed.file.finished()
    assert descriptor is not None
    socket.send_fds(files, [b"f"], [descriptor])
    yield {"op": "share"}
    for start in range(1, len(packed.ends), _NUMBERS_AT_ONCE):
        yield {"op": "ends", "ends": packed.ends[start : start + _NUMBERS_AT_ONCE].tobytes()}


def _chosen(part: str, messages: PackedMessages) -> Iterator[Request]:
    """Of the texts that were shared last: the part's numbers and labels."""
    labels = messages.labels
    for start in range(0, len(messages), _NUMBERS_AT_ONCE):
        end = start + _NUMBERS_AT_ONCE
        numbers = array("I", messages.numbers[start:end]).tobytes()
        yield {"op": "choose", "part": part, "numbers": numbers, "labels": labels[start:end]}


class HandedOver:
    """The trainer's end: what it was given so far, by part.

    Args:
        files: where files come; None where none will.
    """

    def __init__(self, files: socket.socket | None = None) -> None:
        self._files = files
        self.parts = {"train": PackedMessages(), "held_out": PackedMessages()}
        self._texts = PackedTexts()

    def forget(self) -> None:
        self.parts = {"train": PackedMessages(), "held_out": PackedMessages()}
        self._texts = PackedTexts()

    def load(self, request: Request) -> Request:
        """Some more messages of one part."""
        messages = self.parts[request["part"]]
        for label, text in zip(request["labels"], request["texts"], strict=True):
            messages.add(label, text)
        return {}

    def share(self, _: Request) -> Request:
        """A file of texts, which comes over the socket."""
        assert self._files is not None
        descriptor = socket.recv_fds(self._files, 1, 1)[1][0]
        self._texts = PackedTexts(MemoryFile.of_descriptor(descriptor))
        return {}

    def ends(self, request: Request) -> Request:
        """Where some more of its texts end."""
        self._texts.ends.frombytes(request["ends"])
        return {}

    def choose(self, request: Request) -> Request:
        """Some more of its texts that are messages of one part."""
        before = self.parts[request["part"]]
        numbers = array("I", before.numbers if len(before) else ())
        numbers.frombytes(request["numbers"])
        labels = before.labels + request["labels"]
        self.parts[request["part"]] = PackedMessages.of_texts(self._texts, labels, numbers)
        return {}
