"""Places: the line of each node that dials in, until whoever works with it takes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from server.nodes.link import Link
from shared.errors import FedsmsError, NodeUnreachable
from shared.wire.knocks import LONGEST_KNOCK
from shared.wire.timeouts import limit
from shared.wire.transport import CLOSE_SECONDS, NOT_NOW, REPLACED

log = logging.getLogger("fedsms.coordinator")


class _Place:
    """One node's: its newest line, and whether somebody has taken that."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.is_taken = False
        self.error: FedsmsError | None = None
        self.failed_at = 0.0
        self.changed = asyncio.Event()

    @property
    def stands(self) -> bool:
        return self.link is not None and not self.link.loss.done()

    def change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Places:
    """The nodes that are awaited, by id. A newer line of a node replaces its older one.

    Args:
        ids: of those that are awaited; None awaits whoever comes.
    """

    def __init__(self, ids: Iterable[str] | None) -> None:
        self._of = {node: _Place() for node in ids or ()}
        self._takes_anybody = ids is None
        self._closing: set[asyncio.Task[None]] = set()

    def __contains__(self, node: str) -> bool:
        return self._takes_anybody or node in self._of

    def _place(self, node: str) -> _Place:
        return self._of.setdefault(node, _Place()) if self._takes_anybody else self._of[node]

    @property
    def here(self) -> dict[str, Link]:
        """The lines that stand and that nobody has taken, by node."""
        return {
            node: place.link
            for node, place in self._of.items()
            if place.link is not None and place.stands and not place.is_taken
        }

    def put(self, node: str, link: Link, is_proved: bool) -> bool:
        """Takes a line in; False where it is closed instead, or soon will be.

        Args:
            is_proved: a certificate says that it is this node's. Then the older line is half-open,
                for a node dials anew where its own end of it is gone. Else who has the place keeps
                it: nothing says which of the two is right.
        """
        place = self._place(node)
        older = place.link if place.stands else None
        if older is not None and not is_proved:
            reason = f"node {node} is here already, over another connection"
            self._close(link, NOT_NOW, reason)
            return False
        place.link, place.is_taken, place.error = link, False, None
        place.change()
        if older is not None:
            log.info("node %s has dialled in anew; its older connection is closed", node)
            self._close(older, REPLACED, "a newer connection of this node has taken its place")
        return True

    def fail(self, node: str, error: FedsmsError) -> None:
        """Tells whoever waits for a node why its line came to nothing."""
        place = self._place(node)
        if not place.stands:
            place.error, place.failed_at = error, time.monotonic()
            place.change()

    async def take(self, node: str, where: str, seconds: float) -> Link:
        """Waits for a node's next line. Safe to cancel.

        Args:
            where: the coordinator listens, for the error.
            seconds: how long to wait; 0 waits for ever.

        Raises:
            NodeUnreachable: it has not dialled in in time. FedsmsError: why its line came to
            nothing.
        """
        place = self._place(node)
        try:
            async with asyncio.timeout(limit(seconds)):
                while not place.stands or place.is_taken:
                    error, place.error = place.error, None
                    # one of longer ago says nothing of now: whoever it was knocks again, or is gone
                    if error is not None and time.monotonic() - place.failed_at < LONGEST_KNOCK:
                        raise error
                    await place.changed.wait()
        except TimeoutError:
            raise NodeUnreachable(
                f"node {node} has not dialled in within {seconds:g} s",
                f"it is awaited at {where}",
                "Is it running, and is that where it dials? Start it there with: "
                "python -m worker_node serve --data FILE --dial wss://THIS-MACHINE:PORT",
            ) from None
        place.is_taken = True
        assert place.link is not None
        return place.link

    async def close(self) -> None:
        """Ends lines that nobody took, and those that were replaced. Idempotent."""
        left = [one.link for one in self._of.values() if one.link is not None and not one.is_taken]
        await asyncio.gather(*(link.close() for link in left), *self._closing)

    def _close(self, link: Link, code: int, reason: str) -> None:
        closing = asyncio.create_task(_bounded_close(link, code, reason))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _bounded_close(link: Link, code: int, reason: str) -> None:
    """A half-open line takes nothing, so that even a goodbye would wait for room in it."""
    ending = asyncio.get_running_loop().call_later(CLOSE_SECONDS, link.abort)
    await link.close(code, reason)
    ending.cancel()
