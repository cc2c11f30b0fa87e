"""The reception: takes invitations at the coordinator's port, from whoever has no certificate yet.

It answers two questions (shared/wire/joining.py): which CA the federation has, and whether an
invitation is good. Nothing else is said to somebody without a certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from server.authority.enrolment import spread_crl
from server.authority.invitations import Invitations, Invited
from shared.errors import CertificateRefused, FedsmsError, NodeFailed, one_line
from shared.identity.certificates import to_pem
from shared.wire.bounded_connection import BoundedServer
from shared.wire.frames import MalformedFrame, pack_error, pack_map, unpack_map
from shared.wire.joining import JOIN_PATH, CaAnswer, JoinAnswer, JoinQuestion
from shared.wire.transport import NOT_NOW

AT_A_TIME = 4
"""Joins that are looked at side by side: each writes files, and may sign."""

log = logging.getLogger("fedsms.coordinator")

OnJoined = Callable[[str, str], object]
"""Told of a node's id, and of where it joined from."""


class Reception:
    """Whoever comes without a certificate.

    Args:
        tell: called for each node that joins.
    """

    def __init__(
        self, invitations: Invitations, tell: OnJoined = lambda node, origin: None
    ) -> None:
        self.invitations = invitations
        self._tell = tell
        self._turn = asyncio.Semaphore(AT_A_TIME)

    async def serve(
        self, connection: BoundedServer, seconds: float | None, folder: Path | None
    ) -> None:
        """One question; never raises for what the peer does.

        Args:
            folder: the coordinator's identity folder, which learns of who is revoked with a join.
            seconds: how long the question may take to come; None sets no limit.
        """
        request = connection.request
        if request is None or request.path != JOIN_PATH:
            await connection.close(1008, "a certificate is missing")
            return
        if not self._has_any():
            await connection.close(NOT_NOW, "nobody was invited here")
            return
        try:
            async with asyncio.timeout(seconds):
                asked = await connection.recv()
            # signing may wait for another command, and a long list takes its time on a slow line
            origin = str(connection.remote_address[0])
            await connection.send(await self._answer(asked, origin, folder))
            await connection.close()
        except TimeoutError:
            await connection.close(1008, "no question in time")
        except (MalformedFrame, NodeFailed):  # their words may hold a secret
            await connection.close(1002, "a malformed question")
        except ConnectionClosed:
            return

    async def _answer(self, asked: str | bytes, origin: str, folder: Path | None) -> bytes:
        if isinstance(asked, str):
            raise MalformedFrame("a text message")
        values = unpack_map(asked)
        if not values:
            ca = to_pem(self.invitations.authority.ca).decode()
            return pack_map(CaAnswer(ca=ca).model_dump())
        question = JoinQuestion.parse(values)
        try:
            async with self._turn:
                spending = asyncio.to_thread(self._spend, question, origin, folder)
                # a peer that leaves must not leave half of it done
                spent, answer = await asyncio.shield(spending)
        except FedsmsError as error:
            log.warning("%s asked to join, and was refused: %s", origin, one_line(error))
            told = error if isinstance(error, CertificateRefused) else _for_a_stranger()
            return pack_map(JoinAnswer(error=pack_error(told)).model_dump())
        log.info("node %s has joined from %s, with the key %s", spent.node, origin, spent.key)
        self._tell(spent.node, origin)
        return pack_map(JoinAnswer(answer=answer.decode()).model_dump())

    def _has_any(self) -> bool:
        """Asked anew for each who comes: invitations are made while the port stands."""
        try:
            return bool(self.invitations.all())
        except FedsmsError as error:
            log.warning("nobody can join: %s", one_line(error))
            return False

    def _spend(
        self, question: JoinQuestion, origin: str, folder: Path | None
    ) -> tuple[Invited, bytes]:
        spent, answer = self.invitations.answer(question, origin)
        if spent.replace and folder is not None:
            spread_crl(self.invitations.authority, folder)
        return spent, answer


def _for_a_stranger() -> CertificateRefused:
    """For what is wrong at this side: its words name files here, and are in the log."""
    return CertificateRefused(
        "this coordinator could not sign the request",
        "the reason is in its log",
        "Tell its owner, and run the same line again.",
    )
