"""The node's side of the handshake; server/nodes/link.py has the coordinator's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from shared.errors import FedsmsError, HandshakeRefused, PolicyRefused, one_line
from shared.wire.frames import Frame, Kind, MalformedFrame, pack_error, pack_map, parse_frame
from shared.wire.frames import unpack_map as unpacked
from shared.wire.handshake import Greeting, check, greeting_from
from shared.wire.heartbeat import Heard
from shared.wire.timeouts import limit
from worker_node.guarding.guard import Who
from worker_node.membership.admission import Admission, peer_name
from worker_node.node import DataOwnerNode
from worker_node.sessions.answers import Answers, Request

log = logging.getLogger("fedsms.node")


async def greet(
    node: DataOwnerNode,
    connection: Heard,
    admission: Admission | None,
    answers: Answers,
    on_greeted: Callable[[Heard], None],
) -> bool:
    """The handshake, up to the node's answer; False where the peer is refused or says nothing.

    Args:
        on_greeted: called before a welcome leaves, since the peer may send at once what a stranger
            may not.

    Raises:
        MalformedFrame: what the peer sends is no greeting. ConnectionClosed: it left.
    """
    named = peer_name(connection) if admission else None
    who = answers.meet(named.id if named is not None else "")
    first = await _first_frame(node, connection)
    if first is None:
        return False
    request = answers.request(first.request_id, "handshake")
    ours = node.greeting()
    told: dict[str, Any] = {}
    try:
        if admission is not None:
            admission.check(named)
        told = {"greeting": ours.to_map()}  # whom the owner does not know is told no counts
        _check_fit(node, ours, first, who)
    except (HandshakeRefused, PolicyRefused) as error:
        told = {} if isinstance(error, PolicyRefused) else told
        await _refuse(connection, answers, request, error, told)
        return False
    on_greeted(connection)
    await answers.send(request, Kind.HELLO, pack_map(ours.to_map()))
    return True


def _check_fit(node: DataOwnerNode, ours: Greeting, first: Frame, who: Who) -> None:
    """Raises HandshakeRefused, PolicyRefused or MalformedFrame for a peer that is not let in."""
    theirs = greeting_from(unpacked(first.payload))
    who.name = who.name or theirs.id  # a certificate's name goes before what it calls itself
    check(theirs, ours)
    node.guard.admit(who)


async def _refuse(
    connection: Heard,
    answers: Answers,
    request: Request,
    error: FedsmsError,
    told: dict[str, Any],
) -> None:
    log.warning("%s refused: %s", answers.who.name or "somebody", one_line(error))
    request.refused(error)
    request.entry.decision = "refused"
    await answers.send(request, Kind.REFUSED, pack_map({"error": pack_error(error), **told}))
    await connection.close(1008, "handshake refused")


async def _first_frame(node: DataOwnerNode, connection: Heard) -> Frame | None:
    """The other side's greeting; None where it says nothing in time."""
    try:
        async with asyncio.timeout(limit(node.timeouts.handshake_timeout)):
            first = parse_frame(await connection.recv())
    except TimeoutError:
        await connection.close(1008, "no handshake in time")
        return None
    if first.kind is not Kind.HELLO:
        raise MalformedFrame("a connection starts with a handshake")
    return first
