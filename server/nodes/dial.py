"""Dialling a node: from an address to a standing Link, or one error that says why not."""

from __future__ import annotations

import asyncio
import platform
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidURI

from server.nodes.addresses import NodeAddress
from server.nodes.link import Link, greet
from server.nodes.tls_failures import check_holder, explain_no_websocket, explain_tls
from shared.errors import FedsmsError, HandshakeRefused, NodeUnreachable, describe_os_error
from shared.identity import folder as identity
from shared.identity import tls
from shared.identity.certificates import fingerprint
from shared.quoting import quoted
from shared.wire.frames import MalformedFrame
from shared.wire.handshake import FalseGreeting, Greeting
from shared.wire.heartbeat import HeardClient
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts, limit
from shared.wire.transport import describe_close, transport_options


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
        IdentityError: what this side would prove itself with is missing or unfit.
    """
    own = identity.load(folder, "coordinator") if address.is_secure else None
    connection = await _open(address, own, timeouts)
    try:
        certificate = tls.peer_certificate(connection)
        if own is not None:
            check_holder(address, certificate)
        name = own.name.id if own is not None else platform.node() or "coordinator"
        proof = fingerprint(certificate) if certificate is not None else None
        return await _shake_hands(connection, address, name, timeouts, proof)
    except BaseException:
        await connection.close()
        raise


async def _shake_hands(
    connection: HeardClient,
    address: NodeAddress,
    own_name: str,
    timeouts: Timeouts,
    proof: str | None,
) -> Link:
    name = f"node {address}"
    ours = Greeting(role="coordinator", id=own_name, expects=address.id)
    try:
        async with asyncio.timeout(limit(timeouts.handshake_timeout)):
            return Link(connection, name, await greet(connection, ours, name), timeouts, proof)
    except TimeoutError as error:
        seconds = timeouts.handshake_timeout
        fact = f"{name} took the call and then said nothing for {seconds:g} s"
        raise NodeUnreachable(fact) from error
    except ConnectionClosed as error:
        raise NodeUnreachable(f"{name} hung up in the handshake", describe_close(error)) from error
    except FalseGreeting as error:
        fact = f"{name} greets with what cannot be true"
        advice = "Its owner should look at its messages and its version."
        raise HandshakeRefused(fact, str(error), advice) from error
    except MalformedFrame as error:
        fact = f"what answers for {name} is no node of fedsms"
        raise HandshakeRefused(fact, str(error), "Check the port.") from error


async def _open(
    address: NodeAddress, own: identity.Identity | None, timeouts: Timeouts
) -> HeardClient:
    """A connection that stands; where it fails, the error says which side found what wrong."""
    context = tls.client_context(own) if own is not None else None
    lost: list[Exception] = []

    class Remembering(HeardClient):
        """Keeps the TLS alert that ended it, for which websockets has no word."""

        def connection_lost(self, exc: Exception | None) -> None:
            if exc is not None:
                lost.append(exc)
            super().connection_lost(exc)

    try:
        connection = await connect(
            address.url,
            ssl=context,
            create_connection=Remembering,
            open_timeout=limit(timeouts.connect_timeout),
            proxy=None,
            **transport_options(),
        )
    except (InvalidHandshake, InvalidMessage, InvalidURI, EOFError, OSError) as error:
        ended = lost[0] if lost else error
        raise await _explained(address, own, error, ended, timeouts) from error
    except UnicodeError as error:  # no host can be called so
        raise _unreachable(address, "its host name is not known", "Check the name.") from error
    assert isinstance(connection, HeardClient)
    return connection


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
    if isinstance(error, socket.gaierror):
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


@asynccontextmanager
async def connected(
    addresses: Sequence[NodeAddress],
    folder: Path = identity.DEFAULT,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> AsyncIterator[dict[str, Link]]:
    """Links by node id, while the context lasts.

    Args:
        folder: the identity folder, for nodes that are dialled with TLS.

    Raises:
        NodeUnreachable, HandshakeRefused: for the first of the nodes, by id, that fails.
        IdentityError: TLS is wanted, and the identity is missing or unfit.
    """
    links: dict[str, Link] = {}

    async def keep(address: NodeAddress) -> None:
        links[address.id] = await dial(address, folder, timeouts)

    try:
        answers = await asyncio.gather(*map(keep, addresses), return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer
        yield {address.id: links[address.id] for address in addresses}
    finally:
        await asyncio.gather(*(link.close() for link in links.values()))
