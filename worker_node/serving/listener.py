"""The listener: opens the node's port, and closes it in order."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from websockets.asyncio.server import Server, ServerConnection, serve

from shared.wire.bounded_connection import BoundedServer
from shared.wire.gate import gated_sockets
from shared.wire.timeouts import limit
from shared.wire.transport import transport_options
from worker_node.membership.admission import Admission
from worker_node.node import DataOwnerNode
from worker_node.serving.door import Door
from worker_node.serving.when_to_stop import StopRule


@asynccontextmanager
async def listening(
    node: DataOwnerNode,
    host: str,
    port: int,
    admission: Admission | None = None,
    stop_rule: StopRule | None = None,
) -> AsyncIterator[str]:
    """Listens while the context lasts; gives the address that a coordinator dials.

    Args:
        host: address to listen at; "0.0.0.0" or "::" are all of the machine's.
        port: 0 takes a free one.
        admission: who is let in, over TLS; None lets in everybody, without TLS.
        stop_rule: is told who comes and who leaves; None serves as long as the context lasts.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
    """
    async with listening_at(Door(node, admission, stop_rule), host, port) as url:
        yield url


@asynccontextmanager
async def listening_at(door: Door, host: str, port: int) -> AsyncIterator[str]:
    """The same with a door that connections of other ways go through too."""
    sockets = gated_sockets(f"node {door.node.id}", host, port, door.gate)
    async with AsyncExitStack() as servers:
        for one in sockets:
            await servers.enter_async_context(_server(door, one))
        yield _url(sockets[0], "wss" if door.admission else "ws")


def _server(door: Door, listener: socket.socket) -> AbstractAsyncContextManager[Server]:
    patience = limit(door.node.timeouts.handshake_timeout)

    async def handle(connection: ServerConnection) -> None:
        await door.handle(connection)

    return serve(
        handle,
        sock=listener,
        ssl=door.admission.context if door.admission else None,
        # asyncio takes none where there is no TLS
        ssl_handshake_timeout=patience if door.admission else None,
        create_connection=BoundedServer,
        open_timeout=patience,
        **transport_options(),
    )


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if listener.family is socket.AF_INET6 else host
    return f"{scheme}://{name}:{port}"
