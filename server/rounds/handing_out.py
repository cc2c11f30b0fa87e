"""Hands the model of a run out to the owners whose nodes are there, for predictions of their own.

It is the state that the nodes get to measure after each round anyway; whether one is kept is each
owner's to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from server.nodes.members import Member, Members
from server.rounds.exchange import Exchange
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from server.rounds.records import Observer
from server.rounds.step import Terms, take_step
from shared.errors import PolicyRefused, one_line
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.secure_aggregation.contents import state_digest
from shared.wire.commands import HAND_OUT, HandOutCommand, Progress


@dataclass(frozen=True)
class HandedOut:
    """round: after which. model: SHA-256 in hexadecimal of its numbers. owners: who keep it.
    left_out: who do not, and why."""

    round: int
    model: str
    owners: tuple[str, ...]
    left_out: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As handed_out.json has it."""
        return {
            "round": self.round,
            "model": self.model,
            "owners": list(self.owners),
            "left_out": self.left_out,
        }


class HandingOut:
    """Hands out one model.

    Args:
        members: the nodes; whoever made them closes them.
        recipe: what the model was trained by.
        plan: of its run.
        rounds: after how many it is handed out.
        observers: told of the stage "handing out", in the last of these rounds.
    """

    def __init__(
        self,
        members: Members,
        recipe: Recipe,
        plan: Plan,
        rounds: int,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._members = members
        self._recipe = recipe
        self._run = plan.run
        self._rounds = rounds
        self._observers = observers
        self._exchange = Exchange(recipe, plan, self._tell)

    async def hand_out(self, state: Vector) -> HandedOut:
        """Hands out a state (P,); raises as a round's training does.

        Raises:
            PolicyRefused: no owner takes it.
            QuorumLost: no node was there for too long.
        """
        self._members.notify = self._notice
        base, digest = OutgoingState(state), state_digest(state).hex()
        command = HandOutCommand(
            state_id=base.id,
            run=self._run,
            recipe=self._recipe.to_json(),
            round=self._rounds,
            rounds=self._recipe.federation.rounds,
            model=digest,
        )

        async def give(member: Member) -> None:
            await self._exchange.hold(self._rounds, member, base, HAND_OUT)
            self._tell(self._rounds, member.id, "handing out")
            try:
                await member.client.hand_out(command)
            except PolicyRefused:
                member.rest()
                raise
            self._tell(self._rounds, member.id, "waiting")

        self._wake()
        try:
            terms = Terms(1, deadline=0)
            step = await take_step(self._members, self._members.all, give, terms, "handing out")
        finally:
            self._wake()
        left_out = {node: one_line(error) for node, error in sorted(step.left_out.items())}
        owners = tuple(member.id for member in step.done)
        return HandedOut(self._rounds, digest, owners, left_out)

    def _wake(self) -> None:
        """A no to other work is none to this, and the other way round."""
        for member in self._members.present:
            member.wake()

    def _tell(self, number: int, node: str, stage: str, progress: Progress | None = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, node, stage, progress)

    def _notice(self, node: str, text: str) -> None:
        for observer in self._observers:
            observer.on_notice(self._rounds, node, text)
