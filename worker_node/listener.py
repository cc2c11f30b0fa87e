"""The listener: opens the node's port, gives each connection its session, and closes in order."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import Server, ServerConnection, serve

from shared.errors import UsageError
from shared.heartbeat import HeardServer
from shared.timeouts import limit
from shared.transport import describe_os_error, transport_options
from worker_node.admission import Admission
from worker_node.node import DataOwnerNode
from worker_node.session import Session
from worker_node.stay import Stay

MAX_SESSIONS = 32
"""Connections that a node serves at a time; each may keep objects in its memory."""

log = logging.getLogger("fedsms.node")
# A port scan or a health check is no news, and certainly no stack trace in the owner's log.
logging.getLogger("websockets").setLevel(logging.CRITICAL)


@asynccontextmanager
async def listening(
    node: DataOwnerNode,
    host: str,
    port: int,
    admission: Admission | None = None,
    stay: Stay | None = None,
) -> AsyncIterator[str]:
    """Listens while the context lasts; gives the address that a coordinator dials.

    Args:
        host: address to listen at; "0.0.0.0" or "::" are all of the machine's.
        port: 0 takes a free one.
        admission: who is let in, over TLS; None lets in everybody, without TLS.
        stay: is told who comes and who leaves; None stays as long as the context lasts.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
    """

    staying = stay or Stay(lambda: None)
    sessions = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal sessions
        if sessions >= MAX_SESSIONS:
            await connection.close(1013, f"{MAX_SESSIONS} sessions are open, try again later")
            return
        sessions += 1
        assert isinstance(connection, HeardServer)
        session = Session(node, connection, admission)
        staying.came()
        try:
            await session.run()
            log.info("%s left", session.peer)
        finally:
            sessions -= 1
            staying.left(after_a_run=session.ended_a_run)

    context = admission.context if admission else None
    # asyncio takes none where there is no TLS
    patience = limit(node.timeouts.handshake_timeout) if admission else None
    try:
        server = await serve(
            handler,
            host,
            port,
            create_connection=HeardServer,
            ssl=context,
            ssl_handshake_timeout=patience,
            **transport_options(),
        )
    except OSError as error:
        raise UsageError(
            f"node {node.id} cannot listen at {host}:{port}",
            describe_os_error(error),
            "Give another --host or --port; --port 0 takes a free one.",
        ) from error
    async with server:
        yield _url(server, "wss" if admission else "ws")


def _url(server: Server, scheme: str) -> str:
    listener = next(iter(server.sockets))
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if listener.family is socket.AF_INET6 else host
    return f"{scheme}://{name}:{port}"
