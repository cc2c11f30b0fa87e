"""Messages between the node and the process of a pointer session: kind, length, payload.

    byte 0       Said
    bytes 1-8    length of the payload, little-endian
    the rest     payload: a frame's commands and their answer as they travel, else msgpack

For each message of the node's but GRANTED, REFUSED and ROWS the process says TAKE and NAMED any
number of times, each of which is answered, LEARNED any number of times, and then one of DONE,
FAILED and MALFORMED. A POST has no answer, unless that it is MALFORMED; it is for sessions that got
their rows when they opened.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import struct
from typing import Any

import msgpack

_HEADER = struct.Struct("<BQ")
_JOINED = 2**16  # bytes up to which one write is worth a copy


class Said(enum.IntEnum):
    """Kinds of messages."""

    OPEN = 1  # to the process: settings, and rows or places for them; a map
    POST = 2  # to the process: a frame whose answer nobody waits for
    FRAME = 3  # to the process: a frame
    SUMMARISE = 4  # to the process: [ids of scores, ids of labels]
    GRANTED = 5  # to the process, empty
    REFUSED = 6  # to the process: [is a refusal, fact, cause, next step]
    TAKE = 7  # from the process: bits
    DONE = 8  # from the process: [what is told may follow from rows, an answer or None]
    FAILED = 9  # from the process: [may follow from rows, is a refusal, fact, cause, next step]
    MALFORMED = 10  # from the process: words
    NAMED = 11  # from the process, empty: rows are named for the first time
    ROWS = 12  # to the process: the rows
    LEARNED = 13  # from the process: [place of the first message, probabilities of spam]


def pack(values: Any) -> bytes:
    packed: bytes = msgpack.packb(values)
    return packed


def unpack(payload: bytes) -> Any:
    return msgpack.unpackb(payload, strict_map_key=False)


def send(line: socket.socket, said: Said, payload: bytes = b"") -> None:
    """Sends a message, and waits until it is on its way."""
    line.sendall(_HEADER.pack(said, len(payload)) + payload)


def receive(line: socket.socket) -> tuple[Said, bytes] | None:
    """The next message; None where the other end is gone."""
    header = _exactly(line, _HEADER.size)
    if header is None:
        return None
    said, length = _HEADER.unpack(header)
    payload = _exactly(line, length)
    return None if payload is None else (Said(said), payload)


def _exactly(line: socket.socket, size: int) -> bytes | None:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = line.recv_into(view[got:])
        if not count:
            return None
        got += count
    return bytes(data)


def write(stream: asyncio.StreamWriter, said: Said, payload: bytes | memoryview = b"") -> None:
    header = _HEADER.pack(said, len(payload))
    if len(payload) <= _JOINED:
        stream.write(header + payload)
    else:
        stream.write(header)
        stream.write(payload)


async def read(stream: asyncio.StreamReader) -> tuple[Said, bytes]:
    """The next message. Raises asyncio.IncompleteReadError where the other end is gone.

    Not safe to cancel: part of a message may be lost.
    """
    said, length = _HEADER.unpack(await stream.readexactly(_HEADER.size))
    return Said(said), await stream.readexactly(length)
