"""What a round with secure aggregation asks of one node; the plain one is in exchange.py."""

from __future__ import annotations

import asyncio

from server.nodes.members import Member
from server.rounds.exchange import Exchange, Meanwhile, check_seconds
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from shared.errors import PolicyRefused
from shared.model.recipe import Recipe
from shared.secure_aggregation.kinds import Sum
from shared.wire.commands import (
    EVALUATE,
    TRAIN,
    SecureReport,
    SumKeysCommand,
    SumStep,
    SumStepCommand,
)

OF_THIS_ROUND = frozenset(
    f"secure_aggregation.{rule}"
    for rule in ("one_roster", "one_delivery", "one_vector", "one_set", "own_keys", "order")
)
"""Rules that refuse what a round asks, and say nothing against the next one."""

MAX_MASKED = 3
"""Masked vectors on their way at a time: each has twice the bytes of a model."""


class SecureExchange:
    """Asks the nodes of a run for their parts in sums, each by itself.

    Args:
        plain: sends the states.
        secure: False asks for numbers without masks, which have noise of their own.
    """

    def __init__(self, plain: Exchange, recipe: Recipe, plan: Plan, *, secure: bool = True) -> None:
        self._secure = secure
        self._plain = plain
        self._fetching = asyncio.Semaphore(MAX_MASKED)
        self._recipe = recipe
        self._plan = plan

    async def keys(self, number: int, member: Member, which: Sum, state_id: int) -> bytes:
        """A node's signed Keys, for a round that begins with a state that it holds."""
        command = SumKeysCommand(
            sum=which,
            state_id=state_id,
            run=self._plan.run,
            recipe=self._recipe.to_json(),
            round=number,
            rounds=self._recipe.federation.rounds,
        )
        return await member.client.sum_keys(command)

    async def step(
        self, number: int, member: Member, which: Sum, step: SumStep, data: bytes
    ) -> bytes:
        """Hands a node the next message of a sum; its answer."""
        command = SumStepCommand(sum=which, step=step, run=self._plan.run, round=number, data=data)
        return await member.client.sum_step(command)

    async def train(
        self, number: int, member: Member, part: NodePart, base: OutgoingState
    ) -> bytes:
        """Trains on one node: its masked vector.

        Raises:
            PolicyRefused: its owner's policy, or a rule of the sum, said no.
            FedsmsError: what failed.
        """
        client, plain = member.client, self._plain
        part.asks(TRAIN)
        command = plain.training(number, member.id, base, secure=self._secure)
        with part.measured(client.link):
            plain.tell(number, member.id, "training", None)
            try:
                report = await client.train_secretly(
                    command, lambda progress: plain.tell(number, member.id, "training", progress)
                )
            except PolicyRefused as error:
                if error.rule not in OF_THIS_ROUND:
                    member.rest()
                raise
            if not (self._plan.resumed and number == plain.first_round):
                self._check(member, part, report, TRAIN)
            async with self._fetching:
                plain.tell(number, member.id, "fetching", None)
                masked = await client.fetch_masked(command.result_id)
        part.worked(TRAIN, report)
        plain.tell(number, member.id, "waiting", None)
        return masked

    async def evaluate(
        self, number: int, member: Member, part: NodePart, state: OutgoingState, on_sent: Meanwhile
    ) -> bytes:
        """Sends a state to one node and has it evaluated: its masked counts.

        Args:
            on_sent: called once the node has the state, while it evaluates.
        """
        report = await self._plain.evaluated_by(
            number,
            member,
            part,
            state,
            lambda client, command: client.evaluate_secretly(command),
            secure=self._secure,
            meanwhile=on_sent,
        )
        self._check(member, part, report, EVALUATE)
        part.worked(EVALUATE, report)
        self._plain.tell(number, member.id, "waiting", None)
        return report.masked

    @staticmethod
    def _check(member: Member, part: NodePart, report: SecureReport, work: str) -> None:
        told = report.seconds_working + report.seconds_waiting
        check_seconds(member.id, told, part.waited(work))
