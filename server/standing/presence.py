"""Who is here between runs, and whether a run could begin with them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from server.nodes.addresses import NodeAddress
from server.nodes.link import Link
from server.nodes.places import Places
from server.nodes.reaching import AT_HAND
from server.rounds.cohort import ALL, MinNodes

LOOK_SECONDS = 5.0
"""Between two looks at the clock, which may be set, or stand still while a machine sleeps."""
TWO = MinNodes(count=2)
"""What a run needs where no nodes are named."""


class Presence:
    """The nodes of a port that stays.

    Args:
        named: the federation's nodes; none counts every node that comes.
        min_nodes: what a run needs; None all that are named, or two.
        tell: of a node's id, and what became of it.

    Attributes:
        is_running: a run goes on, whose display says who comes and goes.
    """

    def __init__(
        self,
        named: Sequence[NodeAddress],
        min_nodes: str | None,
        tell: Callable[[str, str], object],
    ) -> None:
        self.is_running = False
        self._places = Places(())
        self._named = named
        self._needed = (ALL if named else TWO) if min_nodes is None else MinNodes.parse(min_nodes)
        self._tell = tell
        self._changed = asyncio.Event()
        self._coming_back: set[str] = set()
        self._back_until = 0.0

    def follow(self, places: Places) -> None:
        """From now on the nodes are those of a port's places."""
        self._places = places

    def arrived(self, node: str, origin: str) -> None:
        """A node has opened a line."""
        link = self._places.here.get(node)
        if link is None:  # it has gone already
            return
        link.loss.add_done_callback(lambda _: self._left(node, link))
        self._coming_back.discard(node)
        self._changed.set()
        if not self.is_running:
            self._tell(node, f"is here, from {origin}")

    def _left(self, node: str, link: Link) -> None:
        self._changed.set()
        if not self.is_running and self._places.here.get(node) in (None, link):
            self._tell(node, "has left")

    def released(self, nodes: frozenset[str]) -> None:
        """A run is over, and has ended its nodes' lines: they dial again."""
        self.is_running = False
        dial = {one.id for one in self._named if not one.dials_in}
        self._coming_back = set(nodes) - self.here - dial
        self._back_until = asyncio.get_running_loop().time() + AT_HAND.dial_in_wait
        self._changed.set()

    @property
    def here(self) -> frozenset[str]:
        """Nodes that a run could have now; of one that is dialled nothing is known before."""
        dialled_in = frozenset(self._places.here)
        if not self._named:
            return dialled_in
        return frozenset(one.id for one in self._named if not one.dials_in or one.id in dialled_in)

    @property
    def is_enough(self) -> bool:
        """Whether as many are here as a run needs."""
        here = len(self.here)
        if self._needed.count is not None:
            return here >= self._needed.count
        return here >= (self._needed.of(len(self._named)) if self._named else 2)

    @property
    def is_ready(self) -> bool:
        """The same, and those of the last run are back, or late."""
        is_late = asyncio.get_running_loop().time() >= self._back_until
        return self.is_enough and (is_late or not self._coming_back)

    async def change(self) -> None:
        """Waits until somebody comes or leaves, and for LOOK_SECONDS at most."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), LOOK_SECONDS)

    async def until_ready(self, wait: Callable[[], object]) -> None:
        """Waits for as long as nodes may pause between two knocks.

        Args:
            wait: called once where there is something to wait for.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + AT_HAND.dial_in_wait
        if not self.is_ready:
            wait()
        while not self.is_ready and loop.time() < deadline:
            await self.change()
