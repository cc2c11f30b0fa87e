"""What both sides' ports have in common: bounds before TLS, bounded connections, one URL."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve

from shared.wire.bounded_connection import BoundedServer
from shared.wire.gate import Gate, gated_sockets
from shared.wire.transport import transport_options

Handle = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def listening(
    who: str,
    endpoint: tuple[str, int],
    handle: Handle,
    gate: Gate,
    context: ssl.SSLContext | None,
    patience: float | None,
) -> AsyncIterator[str]:
    """Listens while the context lasts; gives the URL, with the port that it was given.

    Args:
        who: listens, for errors.
        endpoint: host and port; port 0 takes a free one.
        handle: serves a connection, from its beginning to its end.
        context: None listens without TLS.
        patience: seconds that TLS and the WebSocket handshake may each take; None sets no limit.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
    """
    sockets = gated_sockets(who, *endpoint, gate)
    async with AsyncExitStack() as servers:
        for one in sockets:
            server = serve(
                handle,
                sock=one,
                ssl=context,
                # asyncio takes none where there is no TLS
                ssl_handshake_timeout=patience if context is not None else None,
                create_connection=BoundedServer,
                open_timeout=patience,
                **transport_options(),
            )
            await servers.enter_async_context(server)
        yield _url_of(sockets[0], "ws" if context is None else "wss")


def _url_of(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if listener.family is socket.AF_INET6 else host
    return f"{scheme}://{shown}:{port}"
