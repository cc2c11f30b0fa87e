"""The listener: opens the node's port, gives each connection its session, and closes in order."""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve

from shared.identity.certificates import fingerprint
from shared.identity.tls import peer_certificate
from shared.wire.bounded_connection import BoundedConnection, BoundedServer
from shared.wire.gate import Gate, gated_sockets, group_of
from shared.wire.heartbeat import Heard
from shared.wire.timeouts import Timeouts, limit
from shared.wire.transport import transport_options
from worker_node.membership.admission import Admission
from worker_node.node import DataOwnerNode
from worker_node.serving.when_to_stop import StopRule
from worker_node.sessions.session import Session

MAX_SESSIONS = 32
"""Connections that a node serves at a time; each may keep objects in its memory."""
MAX_SESSIONS_OF_ONE = 8
"""Of them, those of one coordinator: of its certificate, or without TLS of its address."""

log = logging.getLogger("fedsms.node")
# A port scan or a health check is no news, and certainly no stack trace in the owner's log.
logging.getLogger("websockets").setLevel(logging.CRITICAL)


class _Door:
    """Lets connections in, up to the bounds on sessions, and gives each its session."""

    def __init__(
        self, node: DataOwnerNode, admission: Admission | None, rule: StopRule, gate: Gate
    ) -> None:
        self._node = node
        self._admission = admission
        self._rule = rule
        self._gate = gate
        self._sessions: Counter[str] = Counter()

    async def handle(self, connection: ServerConnection) -> None:
        peer = peer_of(connection)
        open_here, of_one = self._sessions.total(), self._sessions[peer]
        if open_here >= MAX_SESSIONS or of_one >= MAX_SESSIONS_OF_ONE:
            await connection.close(1013, "enough sessions are open, try again later")
            return
        assert isinstance(connection, BoundedConnection)
        session = Session(self._node, connection, self._admission, self._on_greeted)
        self._sessions[peer] += 1
        self._rule.came()
        try:
            await session.run()
            log.info("%s left", session.peer)
        finally:
            self._sessions[peer] -= 1
            if not self._sessions[peer]:
                del self._sessions[peer]
            self._rule.left(after_a_run=session.ended_a_run)

    def _on_greeted(self, connection: Heard) -> None:
        self._gate.greeted(connection.remote_address, connection.local_address)
        assert isinstance(connection, BoundedConnection)
        connection.greeted(self._node.guard.most_message_bytes)


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
    gate = Gate()
    door = _Door(node, admission, stop_rule or StopRule(lambda: None), gate)
    sockets = gated_sockets(f"node {node.id}", host, port, gate)
    async with AsyncExitStack() as servers:
        for one in sockets:
            await servers.enter_async_context(_server(door, one, admission, node.timeouts))
        yield _url(sockets[0], "wss" if admission else "ws")


def _server(
    door: _Door, listener: socket.socket, admission: Admission | None, timeouts: Timeouts
) -> AbstractAsyncContextManager[Server]:
    patience = limit(timeouts.handshake_timeout)
    return serve(
        door.handle,
        sock=listener,
        ssl=admission.context if admission else None,
        # asyncio takes none where there is no TLS
        ssl_handshake_timeout=patience if admission else None,
        create_connection=BoundedServer,
        open_timeout=patience,
        **transport_options(),
    )


def peer_of(connection: Connection) -> str:
    """Who it counts for: the certificate, or the address of whoever has none."""
    certificate = peer_certificate(connection)
    return fingerprint(certificate) if certificate else group_of(connection.remote_address)


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if listener.family is socket.AF_INET6 else host
    return f"{scheme}://{name}:{port}"
