"""Messages between the node and its trainer process: 8 bytes of length, then a msgpack map.

Both ends are the node's own; the format is msgpack all the same, so that no pickle is anywhere.
"""

from __future__ import annotations

import asyncio
import select
import struct
from typing import Any, BinaryIO

import msgpack

_LENGTH = struct.Struct("<Q")


def pack(values: dict[str, Any]) -> bytes:
    body: bytes = msgpack.packb(values)
    return _LENGTH.pack(len(body)) + body


def _unpack(body: bytes) -> dict[str, Any]:
    values: dict[str, Any] = msgpack.unpackb(body, strict_map_key=False)
    return values


def read(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next message; None where the other end is gone."""
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    body = pipe.read(length)
    return _unpack(body) if len(body) == length else None


def is_readable(pipe: BinaryIO) -> bool:
    """True where a read would not block: a message has begun, or the other end is gone."""
    return bool(select.select([pipe], [], [], 0)[0])


async def read_async(stream: asyncio.StreamReader) -> dict[str, Any]:
    """The next message. Raises asyncio.IncompleteReadError where the other end is gone.

    Not safe to cancel: part of a message may be lost.
    """
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    return _unpack(await stream.readexactly(length))
