"""One step of a round on many nodes: who did it in time, who was left out, and why.

The step is over when everybody has done it or failed, or at its deadline, provided that enough
have done it. With fewer it goes on: it waits for nodes that lost their connection, and for late
ones, up to a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from server.nodes.members import Member, Members, quorum_lost
from server.nodes.retry import Retry, verdict
from shared.errors import FedsmsError, NodeTimeout, PolicyRefused

Work = Callable[[Member], Awaitable[None]]
"""A node's part in a step. May be called again after it failed; cancelled where it is late."""

MOST_ATTEMPTS = 3
"""Connections over which one node's part is tried before the node is left out."""


@dataclass(frozen=True)
class Terms:
    """What a step must meet.

    need: nodes that must do it.
    deadline: seconds after which it waits for no more than these; 0 sets none.
    """

    need: int
    deadline: float


@dataclass
class Gathered:
    """done: who did the step. left_out: who did not, by node id."""

    done: list[Member] = field(default_factory=list)
    left_out: dict[str, FedsmsError] = field(default_factory=dict)


async def gather(
    members: Members, chosen: Sequence[Member], work: Work, terms: Terms, what: str
) -> Gathered:
    """Has the chosen members do their part, all at the same time.

    Args:
        what: the step in a word, for instance "training".

    Raises:
        QuorumLost: fewer than needed did it, for as long as `quorum_wait` after nobody was left
            to wait for, or after the deadline.
        FedsmsError: fewer than needed did it and no waiting would help: the first final failure.
    """
    step = _Step(members, chosen, work, terms, what)
    try:
        return await step.run()
    finally:
        await step.end()


class _Step:
    def __init__(
        self, members: Members, chosen: Sequence[Member], work: Work, terms: Terms, what: str
    ) -> None:
        self._members = members
        self._chosen = chosen
        self._work = work
        self._terms = terms
        self._what = what
        self._tasks: dict[asyncio.Task[None], Member] = {}
        self._gathered = Gathered()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + (terms.deadline or float("inf"))
        self._short_since: float | None = None

    async def run(self) -> Gathered:
        for member in self._chosen:
            self._begin(member)
        while self._tasks or not self._enough:
            now = self._loop.time()
            if self._enough and now >= self._deadline:
                break
            if len(self._gathered.done) + len(self._hopeful()) < self._terms.need:
                raise self._final_error()
            if self._tasks and now < self._deadline + self._patience:
                await self._wait_for_work(now)
            else:
                await self._wait_for_returns(now)
        self._leave_out_the_late()
        self._gathered.done.sort(key=lambda member: member.id)
        return self._gathered

    async def end(self) -> None:
        """Stops what still goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _enough(self) -> bool:
        return len(self._gathered.done) >= self._terms.need

    @property
    def _patience(self) -> float:
        """Seconds beyond the deadline for which late nodes are waited for."""
        return 0.0 if self._enough else self._members.timeouts.quorum_wait

    def _begin(self, member: Member) -> None:
        if not member.is_ready:
            self._gathered.left_out.update(self._members.reasons([member]))
        else:
            self._gathered.left_out.pop(member.id, None)
            self._tasks[asyncio.create_task(self._attempt(member))] = member

    async def _attempt(self, member: Member) -> None:
        """One node's part, over as many connections as the rejoin window allows."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            link = member.link
            try:
                await self._work(member)
            except FedsmsError as error:
                if isinstance(error, PolicyRefused):
                    self._members.refused(member, error)
                elif member.link is link:
                    self._members.leave(member, error)
                if verdict(error) is not Retry.NOW or attempt == MOST_ATTEMPTS:
                    raise
                window = self._members.timeouts.rejoin_window
                if not await self._members.is_back(member, window):
                    raise
            else:
                return

    async def _wait_for_work(self, now: float) -> None:
        limit = self._deadline + self._patience if now >= self._deadline else self._deadline
        seconds = None if limit == float("inf") else max(0.0, limit - now)
        finished, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in finished:
            member = self._tasks.pop(task)
            error = task.exception()
            if error is None:
                self._gathered.done.append(member)
            elif isinstance(error, FedsmsError):
                self._gathered.left_out[member.id] = error
            else:
                raise error

    async def _wait_for_returns(self, now: float) -> None:
        """With too few nodes and nothing under way: until one that lost its connection is back."""
        if self._short_since is None:
            self._short_since = now
            self._members.notify("", f"{self._count} in {self._what}, waiting for more")
        remaining = self._short_since + self._members.timeouts.quorum_wait - now
        hopeful = self._hopeful()
        if remaining <= 0 or now >= self._deadline + self._patience:
            self._leave_out_the_late()
            raise self._lost()
        if not any(member.is_ready for member in hopeful):
            with suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._members.next_return.wait()
        for member in hopeful:
            if member.is_ready:
                self._begin(member)

    @property
    def _count(self) -> str:
        return f"{len(self._gathered.done)} of the {self._terms.need} nodes needed"

    def _hopeful(self) -> list[Member]:
        """Members who may still do their part of this step."""
        left_out = self._gathered.left_out
        late = list(self._tasks.values())
        away = [member for member in self._chosen if member.id in left_out]
        return late + [
            member
            for member in away
            if verdict(left_out[member.id]) is Retry.NOW
            and (member.link is not None or member.may_return)
        ]

    def _final_error(self) -> FedsmsError:
        """The first failure that no waiting mends; the others' reasons are in the log."""
        standing = {member.id for member in self._chosen if member.connect is None}
        for node, error in sorted(self._gathered.left_out.items()):
            if verdict(error) is not Retry.NOW or node in standing:
                return error
        return self._lost()

    def _lost(self) -> FedsmsError:
        return quorum_lost(len(self._gathered.done), self._terms.need, self._gathered.left_out)

    def _leave_out_the_late(self) -> None:
        for task, member in list(self._tasks.items()):
            task.cancel()
            error = NodeTimeout(
                f"node {member.id} was late",
                f"{self._what} took longer than the {self._terms.deadline:g} s of the deadline",
            )
            self._gathered.left_out[member.id] = error
            self._members.leave(member, error)
