"""The listener: opens the node's port, gives each connection its session, and closes in order."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import Server, ServerConnection, serve

from shared.errors import UsageError
from shared.transport import describe_os_error, transport_options
from worker_node.node import DataOwnerNode
from worker_node.session import Session

MAX_SESSIONS = 32
"""Connections that a node serves at a time; each may keep objects in its memory."""

log = logging.getLogger("fedsms.node")
# A port scan or a health check is no news, and certainly no stack trace in the owner's log.
logging.getLogger("websockets").setLevel(logging.CRITICAL)


@asynccontextmanager
async def listening(node: DataOwnerNode, host: str, port: int) -> AsyncIterator[str]:
    """Listens while the context lasts; gives the address that a coordinator dials.

    Args:
        host: address to listen at; "0.0.0.0" or "::" are all of the machine's.
        port: 0 takes a free one.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
    """

    sessions = 0

    async def handler(connection: ServerConnection) -> None:
        nonlocal sessions
        if sessions >= MAX_SESSIONS:
            await connection.close(1013, f"{MAX_SESSIONS} sessions are open, try again later")
            return
        sessions += 1
        try:
            session = Session(node, connection)
            await session.run()
            log.info("%s left", session.peer)
        finally:
            sessions -= 1

    try:
        server = await serve(handler, host, port, **transport_options())
    except OSError as error:
        raise UsageError(
            f"node {node.id} cannot listen at {host}:{port}",
            describe_os_error(error),
            "Give another --host or --port; --port 0 takes a free one.",
        ) from error
    async with server:
        yield _url(server)


def _url(server: Server) -> str:
    listener = next(iter(server.sockets))
    host, port = listener.getsockname()[:2]
    return f"ws://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"ws://{host}:{port}"


def is_loopback(host: str) -> bool:
    """True where only this machine can reach what listens at the host."""
    return host == "localhost" or host.startswith("127.") or host == "::1"
