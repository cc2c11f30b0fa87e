"""Dialling a node: from an address to a standing Link, or one error that says why not."""

from __future__ import annotations

import asyncio
import platform
import socket

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidURI

from server.addresses import NodeAddress
from server.link import Link, greet
from shared.errors import HandshakeRefused, NodeUnreachable
from shared.handshake import Greeting
from shared.transport import describe_close, describe_os_error, transport_options
from shared.wire import MalformedFrame

CONNECT_SECONDS = 10.0
"""How long opening the connection may take, name look-up included."""
HANDSHAKE_SECONDS = 10.0
"""How long the node may take to say who it is."""


async def dial(address: NodeAddress) -> Link:
    """Connects to a node and shakes hands.

    Raises:
        NodeUnreachable: nobody answers there, or not in time.
        HandshakeRefused: somebody answers who is not that node, or of another version.
    """
    connection = await _open(address)
    try:
        return await _shake_hands(connection, address)
    except BaseException:
        await connection.close()
        raise


async def _shake_hands(connection: ClientConnection, address: NodeAddress) -> Link:
    name = f"node {address}"
    ours = Greeting(role="coordinator", id=platform.node() or "coordinator", expects=address.id)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            return Link(connection, name, await greet(connection, ours))
    except TimeoutError as error:
        fact = f"{name} took the call and then said nothing for {HANDSHAKE_SECONDS:g} s"
        raise NodeUnreachable(fact) from error
    except ConnectionClosed as error:
        raise NodeUnreachable(f"{name} hung up in the handshake", describe_close(error)) from error
    except MalformedFrame as error:
        fact = f"what answers for {name} is no node of fedsms"
        raise HandshakeRefused(fact, str(error), "Check the port.") from error


async def _open(address: NodeAddress) -> ClientConnection:
    try:
        return await connect(
            address.url, open_timeout=CONNECT_SECONDS, proxy=None, **transport_options()
        )
    except TimeoutError as error:
        cause = f"no connection within {CONNECT_SECONDS:g} s"
        raise _unreachable(
            address, cause, "Check the address; a firewall may drop what is sent there."
        ) from error
    except (socket.gaierror, UnicodeError) as error:  # UnicodeError: no host can be called so
        raise _unreachable(address, "its host name is not known", "Check the name.") from error
    except OSError as error:
        raise _unreachable(address, describe_os_error(error), _hint(address)) from error
    except (InvalidHandshake, InvalidMessage, InvalidURI, EOFError) as error:
        raise HandshakeRefused(
            f"what answers for node {address} is no node of fedsms",
            f"it speaks no WebSocket: {error}",
            "Check the port.",
        ) from error


def _hint(address: NodeAddress) -> str:
    if address.url.startswith("wss:"):
        return "Does it speak TLS there? The address of a node that does not begins with ws://."
    start = f"python -m worker_node serve --id {address.id} --data FILE"
    return f"Is the node running, and is that its port? Start it there with: {start}"


def _unreachable(address: NodeAddress, cause: str, next_step: str) -> NodeUnreachable:
    return NodeUnreachable(f"cannot reach node {address}", cause, next_step)
