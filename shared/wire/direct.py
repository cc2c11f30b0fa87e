"""Dialling the address that was named, and no other.

Whoever answers could send the caller on to an address of its own choosing, within the caller's
network or without TLS; and a proxy that TLS does not keep out could be the other side itself.
"""

from __future__ import annotations

from typing import Literal

from websockets.asyncio.client import connect

from shared.wire.urls import is_secure


class Direct(connect):
    """`websockets.connect` that follows no redirection: it is an answer like any other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The error as it is."""
        return exc


def proxy_for(url: str) -> Literal[True] | None:
    """True has the machine's settings name a proxy, through which TLS goes end to end; None dials
    without one, as all that is without TLS and so stays on this machine."""
    return True if is_secure(url) else None
