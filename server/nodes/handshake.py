"""The coordinator's half of the handshake, whoever opened the connection."""

from __future__ import annotations

import asyncio

from websockets.exceptions import ConnectionClosed

from server.nodes.link import Link, greet
from shared.errors import HandshakeRefused, NodeUnreachable
from shared.wire.frames import MalformedFrame
from shared.wire.handshake import FalseGreeting, Greeting
from shared.wire.heartbeat import Heard
from shared.wire.timeouts import Timeouts, limit
from shared.wire.transport import describe_close


async def shake_hands(
    connection: Heard,
    name: str,
    own_name: str,
    expects: str,
    timeouts: Timeouts,
    proof: str | None,
) -> Link:
    """A Link of a connection that stands. What fails leaves the connection to be closed.

    Args:
        name: of the node, for errors, and of the Link. own_name: the coordinator's.
        expects: the node's id; "" accepts any.
        proof: fingerprint of the certificate that the node has shown; None without TLS.

    Raises:
        NodeUnreachable: it says nothing, or hangs up.
        HandshakeRefused: it is another node, or none of fedsms, or of another version.
    """
    ours = Greeting(role="coordinator", id=own_name, expects=expects)
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
