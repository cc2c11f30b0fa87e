"""Dialling a node: from an address to a standing Link, or one error that says why not."""

from __future__ import annotations

import platform
import socket
from pathlib import Path

from websockets.exceptions import InvalidMessage

from server.nodes.addresses import NodeAddress
from server.nodes.handshake import shake_hands
from server.nodes.link import Link
from server.nodes.tls_failures import check_holder, explain_no_websocket, explain_tls
from shared.errors import (
    FedsmsError,
    HandshakeRefused,
    NodeUnreachable,
    UsageError,
    describe_os_error,
)
from shared.identity import folder as identity
from shared.identity import tls
from shared.identity.certificates import fingerprint
from shared.quoting import quoted
from shared.wire.direct import NotOpened, open_direct
from shared.wire.heartbeat import HeardClient
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts, limit
from shared.wire.transport import transport_options


async def dial(
    address: NodeAddress,
    folder: Path = identity.DEFAULT,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> Link:
    """Connects to a node and shakes hands.

    Args:
        folder: the coordinator's identity folder; read for wss:// addresses alone, each time.
        timeouts: of them, connect_timeout and handshake_timeout count here; the Link has them all.

    Raises:
        NodeUnreachable: nobody answers there, or not in time.
        HandshakeRefused: somebody answers who is not that node, or of another version;
            CertificateRefused where one side does not accept the other's certificate.
        UsageError: it is a node that dials in.
        IdentityError: what this side would prove itself with is missing or unfit.
    """
    if address.dials_in:
        raise UsageError(f"node {address.id} dials in, and cannot be dialled")
    own = identity.load(folder, "coordinator") if address.is_secure else None
    connection = await _open(address, own, timeouts)
    try:
        certificate = tls.peer_certificate(connection)
        if own is not None:
            check_holder(address, certificate)
        name = own.name.id if own is not None else platform.node() or "coordinator"
        proof = fingerprint(certificate) if certificate is not None else None
        return await shake_hands(connection, f"node {address}", name, address.id, timeouts, proof)
    except BaseException:
        await connection.close()
        raise


async def _open(
    address: NodeAddress, own: identity.Identity | None, timeouts: Timeouts
) -> HeardClient:
    """A connection that stands; where it fails, the error says which side found what wrong."""
    context = tls.client_context(own) if own is not None else None
    try:
        return await open_direct(
            address.url,
            HeardClient,
            ssl=context,
            open_timeout=limit(timeouts.connect_timeout),
            proxy=None,
            **transport_options(),
        )
    except NotOpened as failed:
        error = failed.error
        raise await _explained(address, own, error, failed.ended, timeouts) from error


async def _explained(
    address: NodeAddress,
    own: identity.Identity | None,
    error: Exception,
    ended: Exception,
    timeouts: Timeouts,
) -> FedsmsError:
    """Args: ended: what ended the connection below WebSocket; the same error where nothing did."""
    refused = None
    if own is not None:
        refused = await explain_tls(address, own, ended, timeouts.handshake_timeout)
    elif isinstance(error, (InvalidMessage, EOFError)):
        refused = await explain_no_websocket(address, timeouts.handshake_timeout)
    if refused is not None:
        return refused
    if isinstance(error, TimeoutError):
        cause = f"no connection within {timeouts.connect_timeout:g} s"
        hint = "Check the address; a firewall may drop what is sent there."
        return _unreachable(address, cause, hint)
    if isinstance(error, (socket.gaierror, UnicodeError)):  # no host can be called so
        return _unreachable(address, "its host name is not known", "Check the name.")
    if isinstance(error, OSError):
        return _unreachable(address, describe_os_error(error), _hint(address))
    return HandshakeRefused(
        f"what answers for node {address} is no node of fedsms",
        f"it speaks no WebSocket: {quoted(str(error))}",
        "Check the port.",
    )


def _hint(address: NodeAddress) -> str:
    start = f"python -m worker_node serve --id {address.id} --data FILE"
    return f"Is the node running, and is that its port? Start it there with: {start}"


def _unreachable(address: NodeAddress, cause: str, next_step: str) -> NodeUnreachable:
    return NodeUnreachable(f"cannot reach node {address}", cause, next_step)
