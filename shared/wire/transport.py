"""How both sides set up their WebSocket connections, and what they call the ways it can fail."""

from __future__ import annotations

import ipaddress
from typing import TypedDict

from websockets.exceptions import ConnectionClosed

from shared.quoting import quoted
from shared.wire.frames import MAX_FRAME_BYTES

CLOSE_SECONDS = 2.0
"""How long a side that closes waits for the other's goodbye."""
BACK_SOON = 4000
"""Close code of a coordinator that leaves amid a run, and will dial again (RFC 6455, 7.4.2)."""
REPLACED = 4001
"""Close code of a connection in whose place its own node's newer one stands."""
NOT_NOW = 1013
"""Close code for somebody who is known, and may come back later (RFC 6455's registry)."""


class TransportOptions(TypedDict):
    compression: None
    max_size: int
    max_queue: int
    ping_interval: None
    ping_timeout: None
    close_timeout: float


def transport_options() -> TransportOptions:
    """Keyword arguments for websockets' asyncio `connect` and `serve`.

    Compression is off: weights hardly shrink, and a peer could send a small frame that inflates.
    """
    return TransportOptions(
        compression=None,
        max_size=MAX_FRAME_BYTES,
        max_queue=16,
        # shared/wire/heartbeat.py instead, which counts every byte as a sign of life
        ping_interval=None,
        ping_timeout=None,
        close_timeout=CLOSE_SECONDS,
    )


def is_loopback(host: str) -> bool:
    """True where only this machine can reach what listens at the host; no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def describe_close(error: ConnectionClosed) -> str:
    """Why a connection ended: who closed it and with which words, or that it broke."""
    if error.rcvd is not None:
        said = f" {quoted(error.rcvd.reason)}" if error.rcvd.reason else ""
        return f"the other side closed it ({error.rcvd.code}{said})"
    if error.sent is not None:
        return f"this side closed it ({error.sent.code} {error.sent.reason})".replace(" )", ")")
    return "it broke without a goodbye"
