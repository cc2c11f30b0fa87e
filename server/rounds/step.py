"""One step of a round on many nodes: who did it in time, who was left out, and why.

server/rounds/decision.py says when it waits, for what, and when it is over; here are the tasks and
the clock.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from server.nodes.members import Member, Members, quorum_lost
from server.nodes.retry import Retry, verdict
from server.rounds.decision import (
    Finish,
    Hopeless,
    Lost,
    StepAt,
    WaitForParts,
    WaitForReturns,
    decide,
)
from shared.errors import FedsmsError, NodeTimeout, PolicyRefused

Part = Callable[[Member], Awaitable[None]]
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
class Outcome:
    """done: who did the step. left_out: who did not, by node id."""

    done: list[Member] = field(default_factory=list)
    left_out: dict[str, FedsmsError] = field(default_factory=dict)


async def take_step(
    members: Members, chosen: Sequence[Member], part: Part, terms: Terms, what: str
) -> Outcome:
    """Has the chosen members do their part, all at the same time.

    Args:
        what: the step in a word, for instance "training".

    Raises:
        QuorumLost: fewer than needed did it, for as long as `quorum_wait` after nobody was left
            to wait for, or after the deadline.
        FedsmsError: fewer than needed did it and no waiting would help: the first final failure.
    """
    step = Step(members, chosen, part, terms, what)
    try:
        return await step.run()
    finally:
        await step.end()


class Step:
    """One step of a round, as it goes on."""

    def __init__(
        self, members: Members, chosen: Sequence[Member], part: Part, terms: Terms, what: str
    ) -> None:
        self._members = members
        self._chosen = chosen
        self._part = part
        self._terms = terms
        self._what = what
        self._tasks: dict[asyncio.Task[None], Member] = {}
        self._outcome = Outcome()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + (terms.deadline or math.inf)
        self._short_since: float | None = None

    async def run(self) -> Outcome:
        for member in self._chosen:
            self._begin(member)
        while not isinstance(decision := decide(self._at(self._loop.time())), Finish):
            match decision:
                case WaitForParts(until):
                    await self._wait_for_parts(until)
                case WaitForReturns(until):
                    self._say_that_it_is_short()
                    await self._wait_for_returns(until)
                case Lost():
                    self._say_that_it_is_short()
                    self._leave_out_the_late()
                    raise self._lost()
                case Hopeless():
                    raise self._final_error()
        self._leave_out_the_late()
        self._outcome.done.sort(key=lambda member: member.id)
        return self._outcome

    def _at(self, now: float) -> StepAt:
        return StepAt(
            need=self._terms.need,
            done=len(self._outcome.done),
            under_way=len(self._tasks),
            away=len(self._away()),
            now=now,
            deadline=self._deadline,
            short_since=self._short_since,
            quorum_wait=self._members.timeouts.quorum_wait,
        )

    async def end(self) -> None:
        """Stops what still goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, member: Member) -> None:
        if not member.is_ready:
            self._outcome.left_out.update(self._members.reasons([member]))
        else:
            self._outcome.left_out.pop(member.id, None)
            self._tasks[asyncio.create_task(self._attempt(member))] = member

    async def _attempt(self, member: Member) -> None:
        """One node's part, over as many connections as the rejoin window allows."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            link = member.link
            try:
                await self._part(member)
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

    async def _wait_for_parts(self, until: float) -> None:
        seconds = None if until == math.inf else max(0.0, until - self._loop.time())
        finished, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in finished:
            member = self._tasks.pop(task)
            error = task.exception()
            if error is None:
                self._outcome.done.append(member)
            elif isinstance(error, FedsmsError):
                self._outcome.left_out[member.id] = error
            else:
                raise error

    def _say_that_it_is_short(self) -> None:
        if self._short_since is None:
            self._short_since = self._loop.time()
            count = f"{len(self._outcome.done)} of the {self._terms.need} nodes needed"
            self._members.notify("", f"{count} in {self._what}, waiting for more")

    async def _wait_for_returns(self, until: float) -> None:
        """With too few nodes and nothing under way: until one that lost its connection is back."""
        hopeful = [*self._tasks.values(), *self._away()]
        if not any(member.is_ready for member in hopeful):
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, until - self._loop.time())):
                    await self._members.next_return.wait()
        for member in hopeful:
            if member.is_ready:
                self._begin(member)

    def _away(self) -> list[Member]:
        """Members that were left out, and may still come back to their part of this step."""
        left_out = self._outcome.left_out
        return [
            member
            for member in self._chosen
            if member.id in left_out
            and verdict(left_out[member.id]) is Retry.NOW
            and (member.link is not None or member.may_return)
        ]

    def _final_error(self) -> FedsmsError:
        """The first failure that no waiting mends; the others' reasons are in the log."""
        standing = {member.id for member in self._chosen if member.connect is None}
        for node, error in sorted(self._outcome.left_out.items()):
            if verdict(error) is not Retry.NOW or node in standing:
                return error
        return self._lost()

    def _lost(self) -> FedsmsError:
        return quorum_lost(len(self._outcome.done), self._terms.need, self._outcome.left_out)

    def _leave_out_the_late(self) -> None:
        for task, member in list(self._tasks.items()):
            task.cancel()
            error = NodeTimeout(
                f"node {member.id} was late",
                f"{self._what} took longer than the {self._terms.deadline:g} s of the deadline",
            )
            self._outcome.left_out[member.id] = error
            self._members.leave(member, error)
