"""One step of a round on many nodes: who did it in time, who was left out, and why.

What it does next is decided in server/rounds/decision.py; here are the tasks, the clock, and the
nodes' comings and goings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from server.nodes.members import Member, Members, quorum_lost
from server.nodes.retry import Retry, verdict
from server.rounds.decision import (
    AwaitParts,
    AwaitReturns,
    BeginAgain,
    Decision,
    Finish,
    Hopeless,
    StepState,
    WaitedInVain,
    decide,
)
from shared.errors import FedsmsError, NodeTimeout, PolicyRefused

Part = Callable[[Member], Awaitable[None]]
"""A node's part in a step. May be called again after it failed; cancelled where it is late."""

MAX_ATTEMPTS = 3
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
class StepResult:
    """done: who did the step. left_out: who did not, by node id."""

    done: list[Member] = field(default_factory=list)
    left_out: dict[str, FedsmsError] = field(default_factory=dict)


async def take_step(
    members: Members, chosen: Sequence[Member], part: Part, terms: Terms, name: str
) -> StepResult:
    """Has the chosen members do their part, all at the same time.

    Args:
        name: the step in a word, for instance "training".

    Raises:
        QuorumLost: fewer than needed did it, for as long as `quorum_wait` after nobody was left
            to wait for, or after the deadline.
        FedsmsError: fewer than needed did it and no waiting would help: the first final failure.
    """
    step = _Step(members, chosen, part, terms, name)
    try:
        return await step.run()
    finally:
        await step.end()


class _Step:
    def __init__(
        self, members: Members, chosen: Sequence[Member], part: Part, terms: Terms, name: str
    ) -> None:
        self._members = members
        self._chosen = chosen
        self._part = part
        self._terms = terms
        self._name = name
        self._tasks: dict[asyncio.Task[None], Member] = {}
        self._result = StepResult()
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + (terms.deadline or float("inf"))
        self._short_since: float | None = None

    async def run(self) -> StepResult:
        for member in self._chosen:
            self._begin(member)
        while not isinstance(decision := self._decide(), Finish):
            await self._follow(decision)
        self._leave_out_the_late()
        self._result.done.sort(key=lambda member: member.id)
        return self._result

    async def end(self) -> None:
        """Stops what still goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _decide(self) -> Decision:
        """What comes next; the first time that nobody is left at work is told and remembered."""
        away, now = self._away(), self._loop.time()
        state = StepState(
            need=self._terms.need,
            done=len(self._result.done),
            at_work=len(self._tasks),
            away=len(away),
            back=sum(member.is_ready for member in away),
            deadline=self._deadline,
            quorum_wait=self._members.timeouts.quorum_wait,
            short_since=self._short_since,
        )
        decision = decide(state, now)
        too_few = isinstance(decision, AwaitReturns | BeginAgain | WaitedInVain)
        if too_few and self._short_since is None:
            self._short_since = now
            count = f"{state.done} of the {state.need} nodes needed"
            self._members.notify("", f"{count} in {self._name}, waiting for more")
        return decision

    async def _follow(self, decision: Decision) -> None:
        match decision:
            case AwaitParts(until):
                await self._await_parts(until)
            case AwaitReturns(until):
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(until):
                        await self._members.next_return.wait()
            case BeginAgain():
                for member in self._away():
                    if member.is_ready:
                        self._begin(member)
            case WaitedInVain():
                self._leave_out_the_late()
                raise self._lost()
            case Hopeless():
                raise self._final_error()

    def _begin(self, member: Member) -> None:
        if not member.is_ready:
            self._result.left_out.update(self._members.reasons([member]))
        else:
            self._result.left_out.pop(member.id, None)
            self._tasks[asyncio.create_task(self._attempt(member))] = member

    async def _attempt(self, member: Member) -> None:
        """One node's part, over as many connections as the rejoin window allows."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            link = member.link
            try:
                await self._part(member)
            except FedsmsError as error:
                if isinstance(error, PolicyRefused):
                    self._members.refused(member, error)
                elif member.link is link:
                    self._members.leave(member, error)
                if verdict(error) is not Retry.NOW or attempt == MAX_ATTEMPTS:
                    raise
                window = self._members.timeouts.rejoin_window
                if not await self._members.is_back(member, window):
                    raise
            else:
                return

    async def _await_parts(self, until: float) -> None:
        seconds = None if until == float("inf") else max(0.0, until - self._loop.time())
        finished, _ = await asyncio.wait(
            self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in finished:
            member = self._tasks.pop(task)
            error = task.exception()
            if error is None:
                member.relapses = 0
                self._result.done.append(member)
            elif isinstance(error, FedsmsError):
                self._result.left_out[member.id] = error
            else:
                raise error

    def _away(self) -> list[Member]:
        """Members that did not do their part and may yet do it."""
        left_out = self._result.left_out
        away = [member for member in self._chosen if member.id in left_out]
        return [
            member
            for member in away
            if verdict(left_out[member.id]) is Retry.NOW
            and (member.link is not None or member.may_return)
        ]

    def _final_error(self) -> FedsmsError:
        """The first failure that no waiting mends; the others' reasons are in the log."""
        standing = {member.id for member in self._chosen if member.connect is None}
        for node, error in sorted(self._result.left_out.items()):
            if verdict(error) is not Retry.NOW or node in standing:
                return error
        return self._lost()

    def _lost(self) -> FedsmsError:
        return quorum_lost(len(self._result.done), self._terms.need, self._result.left_out)

    def _leave_out_the_late(self) -> None:
        for task, member in list(self._tasks.items()):
            task.cancel()
            error = NodeTimeout(
                f"node {member.id} was late",
                f"{self._name} took longer than the {self._terms.deadline:g} s of the deadline",
            )
            self._result.left_out[member.id] = error
            self._members.leave(member, error)
