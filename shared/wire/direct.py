"""Dialling the address that was named, and no other.

Whoever answers could send the caller on to an address of its own choosing, within the caller's
network or without TLS; and a proxy that TLS does not keep out could be the other side itself.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidProxy, InvalidURI

from shared.wire.urls import is_secure


class Direct(connect):
    """`websockets.connect` that follows no redirection: it is an answer like any other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The error as it is."""
        return exc


Client = TypeVar("Client", bound=ClientConnection)


class NotOpened(Exception):
    """No connection came to be.

    Args:
        error: what websockets, or the system, raised.
        ended: what ended the connection below WebSocket, such as a TLS alert, for which websockets
            has no word; the same error where nothing did.
    """

    def __init__(self, error: Exception, ended: Exception) -> None:
        super().__init__(str(ended))
        self.error = error
        self.ended = ended


async def open_direct(url: str, kind: type[Client], **options: Any) -> Client:
    """Opens a connection of a kind, with the options of `websockets.connect`.

    Raises:
        NotOpened: for whatever websockets and the system have for it.
    """
    lost: list[Exception] = []

    class Remembering(kind):  # type: ignore[valid-type, misc]  # a class of that kind
        def connection_lost(self, exc: Exception | None) -> None:
            if exc is not None:
                lost.append(exc)
            super().connection_lost(exc)

    try:
        connection = await Direct(url, create_connection=Remembering, **options)
    except (
        *(InvalidHandshake, InvalidMessage, InvalidProxy, InvalidURI),
        *(EOFError, OSError, UnicodeError),
        ImportError,  # a proxy of a kind that wants another package
    ) as error:
        raise NotOpened(error, lost[0] if lost else error) from error
    assert isinstance(connection, kind)
    return connection


def proxy_for(url: str) -> Literal[True] | None:
    """True has the machine's settings name a proxy, through which TLS goes end to end; None dials
    without one, as all that is without TLS and so stays on this machine."""
    return True if is_secure(url) else None
