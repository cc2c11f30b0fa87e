"""Frames: what one binary WebSocket message between a coordinator and a node looks like.

    byte 0        kind of frame, see Kind
    bytes 1-16    id of the request that the frame belongs to; the requesting side draws it
    the rest      payload: a serialised PySyft message (REQUEST, REPLY), else a msgpack map

A connection starts with one HELLO from the coordinator, answered by HELLO or REFUSED. Then each
REQUEST is answered by exactly one REPLY or ERROR of the same id, with any number of EVENTs before
it. Replies may come in another order than their requests.
COMMANDS are pointer operations (shared/pointers/frames.py), answered only where they ask for it.

Pure functions over bytes: no sockets here. Nothing on the wire is ever unpickled.
"""

from __future__ import annotations

import enum
import os
import re
from dataclasses import dataclass
from typing import Any

import msgpack

from shared.errors import (
    CertificateRefused,
    FedsmsError,
    HandshakeRefused,
    NodeFailed,
    PolicyRefused,
    UsageError,
)
from shared.quoting import MAX_QUOTED, escaped

HEADER_BYTES = 17
REQUEST_ID_BYTES = 16
MAX_FRAME_BYTES = 64 * 2**20
"""Largest frame that either side accepts, in bytes."""
MAX_WORDS = 10_000
"""Characters of each part of a peer's error that are read."""
MAX_MAP_BYTES = 2**20
"""Largest payload of a frame that holds a msgpack map, in bytes."""


class Kind(enum.IntEnum):
    """First byte of a frame. 0 is left unused, so that zeroed memory is never a valid frame."""

    HELLO = 1
    REFUSED = 2
    REQUEST = 3
    REPLY = 4
    ERROR = 5
    EVENT = 6
    COMMANDS = 7


class MalformedFrame(ValueError):
    """Bytes that are no frame of this protocol; what is told of them may hold a peer's words."""

    def __init__(self, why: str) -> None:
        super().__init__(escaped(why, MAX_QUOTED))


@dataclass(frozen=True)
class Frame:
    """One parsed frame; `payload` is a view into the received bytes, not a copy."""

    kind: Kind
    request_id: bytes
    payload: memoryview


def new_request_id() -> bytes:
    return os.urandom(REQUEST_ID_BYTES)


def frame(kind: Kind, request_id: bytes, payload: bytes | memoryview) -> bytes:
    return b"".join((bytes((kind,)), request_id, payload))


def parse_frame(data: bytes | str) -> Frame:
    """Raises MalformedFrame for text messages, short ones and unknown kinds."""
    if isinstance(data, str):
        raise MalformedFrame("a text message; this protocol only knows binary ones")
    if len(data) < HEADER_BYTES:
        raise MalformedFrame(f"{len(data)} bytes; a frame has at least {HEADER_BYTES}")
    try:
        kind = Kind(data[0])
    except ValueError:
        raise MalformedFrame(f"unknown kind of frame {data[0]}") from None
    return Frame(kind, data[1:HEADER_BYTES], memoryview(data)[HEADER_BYTES:])


def pack_map(values: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(values)
    return packed


def unpack_map(payload: bytes | memoryview) -> dict[str, Any]:
    """Raises MalformedFrame where the payload is too large, not msgpack, or not a map."""
    if len(payload) > MAX_MAP_BYTES:
        raise MalformedFrame(f"a map of {len(payload)} bytes; at most {MAX_MAP_BYTES} are read")
    try:
        values = msgpack.unpackb(payload, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedFrame(f"not msgpack: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise MalformedFrame("not a map with text keys")
    return values


_RULE = re.compile(r"[a-z_.]{1,64}")
_CARRIED = {
    kind.__name__: kind
    for kind in (NodeFailed, HandshakeRefused, CertificateRefused, PolicyRefused, UsageError)
}


def pack_error(error: FedsmsError) -> bytes:
    """An error for the other side: its words and kind, never a stack trace."""
    kind = type(error).__name__ if type(error).__name__ in _CARRIED else NodeFailed.__name__
    fields = {"fact": error.fact, "cause": error.cause, "next_step": error.next_step}
    rule = {"rule": error.rule} if isinstance(error, PolicyRefused) else {}
    return pack_map({"kind": kind, **fields, **rule})


def unpack_error(payload: bytes | memoryview) -> FedsmsError:
    """The error that `pack_error` packed, in the other side's words; quote them.

    Raises MalformedFrame where there is none.
    """
    values = unpack_map(payload)
    named = values.get("kind")
    kind = _CARRIED.get(named, NodeFailed) if isinstance(named, str) else NodeFailed
    words = [values.get(name, "") for name in ("fact", "cause", "next_step")]
    if not all(isinstance(word, str) for word in words):  # str() of a deep list would recurse
        raise MalformedFrame("an error whose words are no text")
    error = kind(*(word[:MAX_WORDS] for word in words))
    rule = values.get("rule")
    if isinstance(error, PolicyRefused) and isinstance(rule, str) and _RULE.fullmatch(rule):
        error.rule = rule
    return error
