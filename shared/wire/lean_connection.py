"""A WebSocket connection that keeps nothing of the messages that went through it.

Two things did, on each connection, so that a coordinator's memory grew by several models a node:
asyncio hands a message to OpenSSL whole, whose buffer for what leaves grows to its size and is
given back with the connection alone; and websockets' parser refers to the last frame until the next
one begins. So messages go to TLS in slices, which pass through a small buffer into the TCP
transport's, which is freed as it empties; and the parser's frame is emptied once it is taken.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from websockets.asyncio.connection import Connection
from websockets.frames import DATA_OPCODES, Frame

SLICE = 2**16
MOST_WAITING = 2**22
"""Bytes that wait below TLS before more is held back in it, and with it whoever sends."""


class LeanConnection(Connection):
    """To be named before the class of a side."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        below = below_tls(self.transport)
        if below is not None:
            self.transport = SlicedWrites(self.transport, below)  # type: ignore[assignment]

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            taken = replace(event)
            event.data = b""
            event = taken
        super().process_event(event)


class SlicedWrites:
    """A TLS transport that writes in slices; everything else is the transport's own."""

    def __init__(self, transport: Any, below: asyncio.WriteTransport) -> None:
        self._transport = transport
        below.set_write_buffer_limits(high=MOST_WAITING)

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            self._transport.write(data[start : start + SLICE])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def below_tls(transport: Any) -> asyncio.WriteTransport | None:
    """The TCP transport under TLS; None where there is none, and where asyncio has another TLS."""
    protocol = getattr(transport, "_ssl_protocol", None)
    below: asyncio.WriteTransport | None = getattr(protocol, "_transport", None)
    return below
