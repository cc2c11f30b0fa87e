"""The coordinator's port: where nodes dial in, and are told apart by their certificates.

It is guarded as a node's is: bounds before TLS (shared/wire/gate.py), on a stranger's first words
(shared/wire/bounded_connection.py), and on the time of each step. The handshake's roles do not turn
with the dialling: the coordinator greets first, and leads.
"""

from __future__ import annotations

import logging
import platform
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.server import ServerConnection

from server.nodes.addresses import NodeAddress
from server.nodes.handshake import shake_hands
from server.nodes.link import Link
from server.nodes.places import Places
from server.nodes.reception import Reception
from server.nodes.revoked import Revoked
from shared.errors import FedsmsError, IdentityError, NodeUnreachable, one_line
from shared.identity import folder as identity
from shared.identity import tls
from shared.identity.certificates import Name, UnfitCertificate, fingerprint, name_of
from shared.identity.failed_handshakes import FailedHandshakes
from shared.identity.folder import Identity
from shared.wire.bounded_connection import BoundedServer
from shared.wire.frames import MAX_FRAME_BYTES
from shared.wire.gate import Gate, GateSettings
from shared.wire.listening import listening
from shared.wire.timeouts import Timeouts, limit
from shared.wire.transport import NOT_NOW
from shared.wire.urls import endpoint_of, is_secure

log = logging.getLogger("fedsms.coordinator")
# A port scan or a health check is no news, and certainly no stack trace in a log.
logging.getLogger("websockets").setLevel(logging.CRITICAL)

MOST_NODES = 1000
"""For which a port that takes every node of a federation has room."""
OnArrival = Callable[[str, str], object]
"""Told of a node's id, and of where it dialled in from."""


class Port:
    """What listens, and the nodes that have dialled in there.

    Attributes:
        url: where it listens, with the port that it was given.
    """

    def __init__(
        self,
        awaited: Collection[str] | None,
        own: Identity | None,
        timeouts: Timeouts,
        tell: OnArrival,
        reception: Reception | None,
    ) -> None:
        self.url = ""
        self.places = Places(awaited)
        self._own = own
        self._revoked = Revoked(own) if own is not None else None
        self._name = own.name.id if own is not None else platform.node() or "coordinator"
        self._timeouts = timeouts
        self._tell = tell
        self._reception = reception
        # each node may have an older line that nobody has missed yet
        nodes = MOST_NODES if awaited is None else len(awaited)
        connections = max(GateSettings.connections, 2 * nodes + GateSettings.strangers)
        self.gate = Gate(GateSettings(connections=connections))

    async def link(self, address: NodeAddress) -> Link:
        """Waits for a node's next line; raises as Places.take does."""
        return await self.places.take(address.id, self.url, self._timeouts.dial_in_wait)

    async def handle(self, connection: ServerConnection) -> None:
        """One connection, from its beginning to its end; never raises for what the peer does."""
        assert isinstance(connection, BoundedServer)
        if self._reception is not None and tls.peer_certificate(connection) is None:
            patience = limit(self._timeouts.handshake_timeout)
            folder = self._own.folder if self._own is not None else None
            await self._reception.serve(connection, patience, folder)
            return
        name = self._name_of(connection)
        if self._is_revoked(connection):
            await connection.close(1008, "this certificate was revoked")
            return
        if self._own is not None and name is None:
            await connection.close(1008, "a certificate that names no node")
            return
        if name is not None and name.id not in self.places:
            await connection.close(NOT_NOW, f"node {name.id} is not awaited here now")
            return
        link = await self._welcome(connection, name)
        if link is not None:
            await link.ended()

    async def _welcome(self, connection: BoundedServer, name: Name | None) -> Link | None:
        """Shakes hands, and gives the line its place; None where it comes to nothing."""
        address = connection.remote_address
        origin = str(address[0])
        who = f"node {name.id} from {origin}" if name is not None else f"whoever is at {origin}"
        try:
            link = await shake_hands(
                connection,
                who,
                self._name,
                name.id if name is not None else "",
                self._timeouts,
                self._proof(connection),
            )
        except FedsmsError as error:
            log.warning("%s", one_line(error))
            if name is not None and not isinstance(error, NodeUnreachable):
                self.places.fail(name.id, error)
            await connection.close(1008, "handshake refused")
            return None
        node = link.greeting.id
        if node not in self.places:
            await link.close(NOT_NOW, f"node {node} is not awaited here now")
            return None
        link.name = f"node {node} from {origin}"
        link.origin = origin
        self.gate.greeted(address, connection.local_address)
        connection.greeted(MAX_FRAME_BYTES)
        if self.places.put(node, link, is_proved=name is not None):
            self._tell(node, origin)
        return link

    def _name_of(self, connection: BoundedServer) -> Name | None:
        """The node in the verified certificate; None without TLS, and for whoever is none."""
        certificate = tls.peer_certificate(connection)
        if certificate is None:
            return None
        try:
            name = name_of(certificate)
        except UnfitCertificate:
            return None
        return name if name.role == "node" else None

    def _is_revoked(self, connection: BoundedServer) -> bool:
        certificate = tls.peer_certificate(connection)
        if certificate is None or self._revoked is None:
            return False
        return self._revoked.has(certificate)

    def _proof(self, connection: BoundedServer) -> str | None:
        certificate = tls.peer_certificate(connection)
        return fingerprint(certificate) if certificate is not None else None


@asynccontextmanager
async def open_port(
    url: str,
    awaited: Collection[str] | None,
    folder: Path = identity.DEFAULT,
    timeouts: Timeouts | None = None,
    tell: OnArrival = lambda node, origin: None,
    reception: Reception | None = None,
) -> AsyncIterator[Port]:
    """Listens while the context lasts.

    Args:
        url: wss:// or ws:// with host and port; port 0 takes a free one.
        awaited: ids of the nodes that may dial in, and others are told to come back later; None
            takes every node of the federation.
        folder: the coordinator's identity folder, for wss://.
        tell: called for each line that a node opens.
        reception: takes invitations, with TLS; None asks everybody for a certificate.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
        IdentityError: the identity is missing or unfit, or its certificate is only for dialling.
    """
    timeouts = timeouts or Timeouts()
    own = identity.load(folder, "coordinator") if is_secure(url) else None
    context = _context_of(own, reception) if own is not None else None
    port = Port(awaited, own, timeouts, tell, reception if own is not None else None)
    endpoint, patience = endpoint_of(url), limit(timeouts.handshake_timeout)
    opened = listening("the coordinator", endpoint, port.handle, port.gate, context, patience)
    async with opened as port.url:
        try:
            yield port
        finally:
            await port.places.close()


def _context_of(own: Identity, reception: Reception | None) -> ssl.SSLContext:
    """Raises IdentityError where its certificate is only for dialling, or as _check_federation."""
    if reception is not None:
        _check_federation(own, reception)
    failed = FailedHandshakes(log, "coordinator")
    return tls.server_context(own, failed, everybody=reception is not None)


def _check_federation(own: Identity, reception: Reception) -> None:
    """Raises IdentityError where owners would join another federation than the coordinator's."""
    authority = reception.invitations.authority
    if fingerprint(authority.ca) != fingerprint(own.ca):
        raise IdentityError(
            f"the CA in {authority.folder} is not the one of {own.name}",
            f"its identity is in {own.folder}",
            "Name the federation's own folder with --authority.",
        )
