"""Dialling out: a node that nobody can reach dials its coordinators, for as long as it serves.

Who leads does not change: the coordinator greets first, and the session is the same. It knocks with
a pause that grows to a minute, since no coordinator need be there yet; and again after a line ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from shared.errors import FedsmsError, one_line
from shared.identity import folder as identity
from shared.identity import tls
from shared.identity.certificates import fingerprint
from shared.identity.tls import peer_certificate
from shared.wire.bounded_connection import BoundedClient
from shared.wire.dial_failures import closed_words, failure_words
from shared.wire.direct import NotOpened, open_direct, proxy_for
from shared.wire.knocks import LONGEST_KNOCK, knocks
from shared.wire.timeouts import limit
from shared.wire.transport import NOT_NOW, REPLACED, transport_options
from shared.wire.urls import is_secure
from worker_node.serving.door import Door

log = logging.getLogger("fedsms.node")


class Line:
    """A node's line to one coordinator.

    Args:
        others: all lines of the node.

    Attributes:
        state: how it is, in words.
        peer: fingerprint of the certificate of whoever answers now; "" while nobody does.
    """

    def __init__(self, url: str, door: Door, others: Sequence[Line] = ()) -> None:
        self.url = url
        self.state = "not dialled yet"
        self.peer = ""
        self._door = door
        self._told = ""
        self._others = others
        self._ended = asyncio.Event()

    async def keep(self) -> None:
        """Dials, serves, and dials again, until it is cancelled."""
        pauses = knocks()
        while True:
            try:
                pause = await self._once()
            except Exception as error:  # a line that nobody dials again is worse than any of them
                log.exception("the line to %s", self.url)
                self._tell(f"an unexpected error: {type(error).__name__}")
                pause = 0
            if pause is None:  # a session was served: begin with short pauses again
                pauses = knocks()
            await asyncio.sleep(pause or next(pauses))

    async def _once(self) -> float | None:
        """One call; gives the seconds until the next, 0 for a pause that grows, None after a
        session."""
        try:
            connection = await self._open()
        except FedsmsError as error:
            self._tell(one_line(error))
            return 0
        certificate = peer_certificate(connection)
        peer = self.peer = fingerprint(certificate) if certificate is not None else ""
        self._ended.clear()
        try:
            self.state = "connected"
            coordinator = await self._door.handle(connection)
        finally:
            with suppress(OSError):
                await connection.close()
            self.peer = ""
            self._ended.set()
        if connection.close_code == REPLACED:
            return await self._replaced(peer)
        if coordinator is None or connection.close_code == NOT_NOW:
            self._tell(closed_words(connection))
            return 0
        self._told = ""
        self.state = "between two calls"
        log.info("the line to %s at %s has ended; it is dialled again", coordinator, self.url)
        return None

    async def _replaced(self, peer: str) -> float:
        """Gives the seconds until the next call, once it may help."""
        other = next((one for one in self._others if one is not self and one.peer == peer), None)
        if other is None:
            self._tell(
                "another process with this node's key has dialled in: stop one of the two, or give "
                "each a key of its own"
            )
            return LONGEST_KNOCK
        # the coordinator keeps one line of a node: two would take each other's place for ever
        self.state = f"idle: the coordinator is the one at {other.url}"
        log.info("%s is the coordinator at %s, and one line to it will do", self.url, other.url)
        await other.ended()
        return 0

    async def ended(self) -> None:
        """Waits until the call that stands now is over."""
        await self._ended.wait()

    async def _open(self) -> BoundedClient:
        """Raises FedsmsError that says why there is no connection."""
        admission = self._door.admission
        context = None
        if is_secure(self.url) and admission is not None:
            # anew each time, so that a renewed certificate and a newer crl.pem count
            context = tls.client_context(identity.load(admission.folder, "node"))
        timeouts = self._door.node.timeouts
        try:
            return await open_direct(
                self.url,
                BoundedClient,
                ssl=context,
                proxy=proxy_for(self.url),
                open_timeout=limit(timeouts.connect_timeout),
                **transport_options(),
            )
        except NotOpened as error:
            raise failure_words(error.ended, self.url, timeouts) from error

    def _tell(self, words: str) -> None:
        """Each reason once, and not at each knock."""
        self.state = f"knocking: {words}"
        if words != self._told:
            self._told = words
            log.warning(
                "no line to %s: %s. It is dialled again, at least every %g s",
                *(self.url, words.rstrip("."), LONGEST_KNOCK),
            )


@asynccontextmanager
async def dialling(door: Door, urls: Sequence[str]) -> AsyncIterator[list[Line]]:
    """Keeps a line to each coordinator while the context lasts."""
    lines: list[Line] = []
    lines += [Line(url, door, lines) for url in urls]
    keeping = [asyncio.create_task(line.keep()) for line in lines]
    try:
        yield lines
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
