"""The door: gives each connection its session, up to the bounds on sessions, whoever opened it."""

from __future__ import annotations

import logging
from collections import Counter

from websockets.asyncio.connection import Connection

from shared.identity.certificates import fingerprint
from shared.identity.tls import peer_certificate
from shared.wire.bounded_connection import BoundedConnection
from shared.wire.gate import Gate, group_of
from shared.wire.heartbeat import Heard
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


class Door:
    """Counts the sessions of a node.

    Args:
        admission: who is let in, over TLS; None lets in everybody, without TLS.
        rule: is told who comes and who leaves; None serves as long as the node does.
    """

    def __init__(
        self, node: DataOwnerNode, admission: Admission | None, rule: StopRule | None = None
    ) -> None:
        self.node = node
        self.admission = admission
        self.gate = Gate()
        self._rule = rule or StopRule(lambda: None)
        self._sessions: Counter[str] = Counter()

    async def handle(self, connection: Connection) -> str | None:
        """A connection, from its beginning to its end.

        Returns:
            The coordinator that it was a session of; None where it came to none.
        """
        peer = peer_of(connection)
        open_here, of_one = self._sessions.total(), self._sessions[peer]
        if open_here >= MAX_SESSIONS or of_one >= MAX_SESSIONS_OF_ONE:
            await connection.close(1013, "enough sessions are open, try again later")
            return None
        assert isinstance(connection, BoundedConnection)
        welcomed: list[Heard] = []

        def on_greeted(greeted: Heard) -> None:
            welcomed.append(greeted)
            self._rule.came()
            self._on_greeted(greeted)

        session = Session(self.node, connection, self.admission, on_greeted)
        self._sessions[peer] += 1
        try:
            await session.run()
            log.info("%s left", session.peer)
        finally:
            self._sessions[peer] -= 1
            if not self._sessions[peer]:
                del self._sessions[peer]
            if welcomed:  # a stranger, or one who waits for others, is nobody who came
                self._rule.left(after_a_run=session.ended_a_run)
        return session.peer if welcomed else None

    def _on_greeted(self, connection: Heard) -> None:
        # of a connection that this side opened, the gate knows nothing
        self.gate.greeted(connection.remote_address, connection.local_address)
        assert isinstance(connection, BoundedConnection)
        connection.greeted(self.node.guard.most_message_bytes)


def peer_of(connection: Connection) -> str:
    """Who it counts for: the certificate, or the address of whoever has none."""
    certificate = peer_certificate(connection)
    return fingerprint(certificate) if certificate else group_of(connection.remote_address)
