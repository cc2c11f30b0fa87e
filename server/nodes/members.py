"""The nodes of a run, those that are there and those that are away and dialled again.

A member whose work failed leaves: its connection is closed, with all that it held over it, and it
comes back over a new one. So a member that is there is always in a known state, and holds no more
than what was sent over this connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from server.nodes.link import Link
from server.nodes.retry import POLICY_REST, Retry, delays, verdict
from shared.errors import (
    FedsmsError,
    NodeTimeout,
    NodeUnreachable,
    PolicyRefused,
    QuorumLost,
    one_line,
)
from shared.wire.timeouts import Timeouts, limit
from shared.wire.transport import BACK_SOON, CLOSE_SECONDS

if TYPE_CHECKING:  # it hooks torch, which the start state is better drawn without
    from server.nodes.client import NodeClient

Connect = Callable[[], Awaitable[Link]]
"""How a node's connection is made anew; who dials whom is decided elsewhere."""

log = logging.getLogger("fedsms.coordinator")


class Member:
    """One node of the run.

    Attributes:
        link: its standing connection; None while it is away.
        error: why it is away, or is not asked for a while.
        holds: ids of the states that it holds whole over this connection.
        relapses: how often in a row it left before it had done its part.
    """

    def __init__(self, node_id: str, connect: Connect | None) -> None:
        self.id = node_id
        self.connect = connect
        self.link: Link | None = None
        self.error: FedsmsError | None = None
        self.holds: set[int] = set()
        self.returning: asyncio.Task[None] | None = None
        self.relapses = 0
        self._client: NodeClient | None = None
        self._rests_until = 0.0

    @property
    def is_ready(self) -> bool:
        """True where it may be asked for something now."""
        loop = asyncio.get_running_loop()
        return self.link is not None and loop.time() >= self._rests_until

    def rest(self) -> None:
        """Is not asked for a while; its connection stands."""
        self._rests_until = asyncio.get_running_loop().time() + POLICY_REST

    def wake(self) -> None:
        """May be asked at once: over a new connection its owner's policy may be another."""
        self._rests_until = 0.0

    @property
    def may_return(self) -> bool:
        return self.returning is not None and not self.returning.done()

    @property
    def client(self) -> NodeClient:
        """PySyft's side of the node. Raises NodeUnreachable, or why it left, while it is away."""
        from server.nodes.client import NodeClient

        if self.link is None:
            raise self.error or NodeUnreachable(f"node {self.id} is away")
        if self._client is None:
            self._client = NodeClient(self.id, self.link)
        self._client.link = self.link
        return self._client


class Members:
    """All nodes of a run. Close it in the end.

    Args:
        connects: how each node's connection is made, by node id.
        awaited: ids of those that dial in, some time.
        timeouts: of them, reconnect_limit and quorum_wait count here.

    Attributes:
        notify: told of a node's leaving and return; may be replaced.
        next_return: set when a member comes back, or one is given up; then another takes its place.
    """

    def __init__(
        self,
        connects: Mapping[str, Connect | None],
        timeouts: Timeouts,
        awaited: Collection[str] = (),
    ) -> None:
        # Always in alphabetical order: no figure depends on who answered first.
        self.all = [Member(node, connects[node]) for node in sorted(connects)]
        self.timeouts = timeouts
        self.awaited = awaited
        self.notify: Callable[[str, str], None] = _log_notice
        self.next_return = asyncio.Event()
        self._goodbyes: set[asyncio.Task[None]] = set()

    @classmethod
    def standing(cls, links: Mapping[str, Link], timeouts: Timeouts | None = None) -> Members:
        """Members over connections of somebody else's, which are not made anew once lost."""
        made = cls(dict.fromkeys(links), timeouts or Timeouts())
        for member in made.all:
            made._arrive(member, links[member.id])
        return made

    @property
    def present(self) -> list[Member]:
        return [member for member in self.all if member.link is not None]

    async def start(self, need: int | None) -> None:
        """Connects to all nodes at the same time.

        Args:
            need: with how many of them the run may begin; the others may come later. None needs
                all, and takes the first failure for an answer.

        Raises:
            QuorumLost: there were fewer for as long as `quorum_wait`.
            FedsmsError: with None, the first failure by node id.
        """
        called = [one for one in self.all if need is None or one.id not in self.awaited]
        await asyncio.gather(*map(self._first_call, called))
        for member in self.all:
            if member not in called:
                member.error = NodeUnreachable(f"node {member.id} has not dialled in yet")
        errors = [member.error for member in self.all if member.error is not None]
        if need is None:
            for error in errors:
                if self.present:
                    error.next_step += "\n  --min-nodes 1 begins without it, and has it join later."
                raise error
            return
        for member in self.all:
            if member.error is not None:
                self.notify(member.id, f"is not there: {one_line(member.error)}")
                self._expect(member, member.error)
        await self.gather(self.all, need)
        if len(self.present) < need:
            raise quorum_lost(len(self.present), need, self.reasons(self.all))

    async def gather(self, some: Iterable[Member], need: int) -> None:
        """Waits until so many of some members are there, as long as that may yet be: up to
        `quorum_wait`."""
        wanted = list(some)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.timeouts.quorum_wait):
                while sum(one.link is not None for one in wanted) < need:
                    if not any(one.may_return for one in wanted):
                        return
                    await self.next_return.wait()

    async def _first_call(self, member: Member) -> None:
        assert member.connect is not None
        try:
            self._arrive(member, await member.connect())
        except FedsmsError as error:
            member.error = error

    def reasons(self, members: Iterable[Member]) -> dict[str, FedsmsError]:
        """Why members are away, or are not asked, by node id."""
        away = (one for one in members if not one.is_ready)
        return {one.id: one.error for one in away if one.error is not None}

    async def is_back(self, member: Member, seconds: float) -> bool:
        """Waits so long for a member that left; True where it is there again."""
        if member.returning is not None and seconds:
            await asyncio.wait([member.returning], timeout=seconds)
        return member.link is not None

    def refused(self, member: Member, error: PolicyRefused) -> None:
        """Its owner's policy said no: an answer, so that its connection is as well as before."""
        before, member.error = member.error, error
        if before is None or one_line(before) != one_line(error):  # once, not each round
            self.notify(member.id, f"is left out: {one_line(error)}")

    def leave(self, member: Member, error: FedsmsError) -> None:
        """Lets a member go for what it did; unless that is final, it is dialled again."""
        link = member.link
        if link is None:
            return
        member.link = None
        member.holds.clear()
        if not isinstance(error, NodeTimeout):  # who is slow comes back as soon as it can
            member.relapses += 1
        self.notify(member.id, f"is out: {one_line(error)}")
        if member.connect is not None:  # else the connection is another's to close
            goodbye = asyncio.create_task(_say_goodbye(link))
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._goodbyes.discard)
        self._expect(member, error)

    def _expect(self, member: Member, error: FedsmsError) -> None:
        member.error = error
        if member.connect is not None and verdict(error) is not Retry.NEVER:
            member.returning = asyncio.create_task(self._bring_back(member, member.connect))

    async def _bring_back(self, member: Member, connect: Connect) -> None:
        try:
            async with asyncio.timeout(limit(self.timeouts.reconnect_limit)):
                for delay in delays(member.relapses):
                    await asyncio.sleep(delay)
                    try:
                        link = await connect()
                    except FedsmsError as error:
                        log.debug("node %s is still away: %s", member.id, error)
                        if verdict(error) is Retry.NEVER:
                            member.error = error
                            self._give_up(member, one_line(error))
                            return
                    else:
                        self._arrive(member, link)
                        self.notify(member.id, "is back")
                        return
        except TimeoutError:
            self._give_up(member, f"away for {self.timeouts.reconnect_limit:g} s")
        finally:
            # A new one for the next to come, so that nobody who waits can miss this one.
            self.next_return.set()
            self.next_return = asyncio.Event()

    def _give_up(self, member: Member, why: str) -> None:
        self.notify(member.id, f"is given up: {why}")

    def _arrive(self, member: Member, link: Link) -> None:
        member.link, member.error = link, None
        member.wake()

        def lost(loss: asyncio.Future[FedsmsError]) -> None:
            if member.link is link and not loss.cancelled():
                self.leave(member, loss.result())

        link.loss.add_done_callback(lost)

    async def close(self) -> None:
        """Ends all connections that this made, and all attempts to make one. Idempotent."""
        returning = [one.returning for one in self.all if one.returning is not None]
        for task in returning:
            task.cancel()
        await asyncio.gather(*returning, return_exceptions=True)
        links = [one.link for one in self.all if one.link is not None and one.connect is not None]
        for member in self.all:
            member.link = None
        await asyncio.gather(*(link.close() for link in links), *self._goodbyes)


def _log_notice(node: str, text: str) -> None:
    log.warning("node %s %s", node, text)


async def _say_goodbye(link: Link) -> None:
    """Has the node stop what it does for us, in a moment or not at all, and hangs up."""
    from server.nodes.client import pack_cancel

    with suppress(FedsmsError):
        await link.request(pack_cancel(), seconds=CLOSE_SECONDS)
    await link.close(BACK_SOON)


def quorum_lost(done: int, need: int, reasons: Mapping[str, FedsmsError]) -> QuorumLost:
    """The error for too few nodes, with what is wrong with each of the others."""
    why = "\n".join(f"  {node}: {one_line(error)}" for node, error in sorted(reasons.items()))
    error = QuorumLost(
        f"{done} of the {need} nodes that a round needs took part",
        f"the others did not come back in time\n{why}" if why else "",
        "See to these nodes, or lower --min-nodes.",
    )
    error.__cause__ = next(iter(reasons.values()), None)
    return error
