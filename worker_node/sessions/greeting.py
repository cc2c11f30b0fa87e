"""The node's side of the handshake; server/nodes/link.py has the coordinator's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from shared.errors import FedsmsError, HandshakeRefused, PolicyRefused, one_line
from shared.identity.certificates import Name
from shared.wire.frames import Frame, Kind, MalformedFrame, pack_error, pack_map, parse_frame
from shared.wire.frames import unpack_map as unpacked
from shared.wire.handshake import check, greeting_from
from shared.wire.heartbeat import HeardServer
from shared.wire.timeouts import limit
from worker_node.guarding.guard import Who
from worker_node.membership.admission import Admission, peer_name
from worker_node.node import DataOwnerNode
from worker_node.sessions.answers import Answers

log = logging.getLogger("fedsms.node")


async def greet(
    node: DataOwnerNode,
    connection: HeardServer,
    admission: Admission | None,
    answers: Answers,
    on_greeted: Callable[[HeardServer], None],
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
    judgement = _Judgement(node, admission, named)
    try:
        judgement.of(first, who)
    except (HandshakeRefused, PolicyRefused) as error:
        log.warning("%s refused: %s", who.name or "somebody", one_line(error))
        request.refused(error)
        request.entry.decision = "refused"
        told = {} if isinstance(error, PolicyRefused) else judgement.told
        await answers.send(request, Kind.REFUSED, _refusal(error, told))
        await connection.close(1008, "handshake refused")
        return False
    on_greeted(connection)
    await answers.send(request, Kind.HELLO, pack_map(judgement.ours.to_map()))
    return True


class _Judgement:
    """Whether somebody is let in.

    told: of the node, to whoever is not; what it holds is for those whom the owner knows.
    """

    def __init__(
        self, node: DataOwnerNode, admission: Admission | None, named: Name | None
    ) -> None:
        self.ours = node.greeting()
        self.told: dict[str, Any] = {}
        self._guard = node.guard
        self._admission = admission
        self._named = named

    def of(self, first: Frame, who: Who) -> None:
        """Raises HandshakeRefused, PolicyRefused or MalformedFrame for who is not."""
        if self._admission is not None and self._named is not None:
            self._admission.check(self._named)
        self.told = {"greeting": self.ours.to_map()}
        theirs = greeting_from(unpacked(first.payload))
        if self._named is None:
            who.name = theirs.id
        check(theirs, self.ours)
        self._guard.admit(who)


def _refusal(error: FedsmsError, told: dict[str, Any]) -> bytes:
    return pack_map({"error": pack_error(error), **told})


async def _first_frame(node: DataOwnerNode, connection: HeardServer) -> Frame | None:
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
