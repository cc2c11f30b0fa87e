"""The heartbeat: each side sends a ping now and then, and counts a silent other side as lost.

Any byte that arrives is a sign of life, not the answer to a ping alone: on a slow line a model
takes longer than a heartbeat, and pings and answers wait behind it. What is counted are the beats
without a byte, not the time: a process that was held up itself blames nobody, and one that does
not read, because it has enough to do, neither.
"""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from shared.wire.lean_connection import LeanConnection

BEATS = 5
"""Pings in the time after which silence counts as loss; all but the first may get lost."""


class Heard(LeanConnection):
    """Counts what arrives; `silent` says that the connection broke for want of it."""

    arrivals = 0
    silent = False

    def data_received(self, data: bytes) -> None:
        self.arrivals += 1
        super().data_received(data)


class HeardClient(Heard, ClientConnection):
    """Of a connection that this side opened."""


class HeardServer(Heard, ServerConnection):
    """Of a connection that came in."""


async def watch(connection: Heard, seconds: float) -> None:
    """Breaks a connection over which nothing came for so long; returns when it is over.

    Args:
        seconds: how long the other side may be silent; 0 lets it be silent for ever.
    """
    if not seconds:
        return
    heard, silent_beats = connection.arrivals, 0
    # A ping that waits for room in the line must not keep the others from being counted.
    pinging: asyncio.Task[None] | None = None
    try:
        while silent_beats < BEATS - 1:
            if pinging is None or pinging.done():
                pinging = asyncio.create_task(_ping(connection))
            await asyncio.sleep(seconds / BEATS)
            heard_of = connection.arrivals != heard or not connection.transport.is_reading()
            silent_beats = 0 if heard_of else silent_beats + 1
            heard = connection.arrivals
        connection.silent = True
        connection.transport.abort()
    finally:
        if pinging is not None:
            pinging.cancel()


async def _ping(connection: Heard) -> None:
    try:
        await connection.ping()
    except ConnectionClosed:
        return
