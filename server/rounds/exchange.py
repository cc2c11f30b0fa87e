"""What a round asks of one node: to train from a state, and to evaluate the next one.

All nodes are asked at the same time, transfers included, though only some models are on the way at
a time, so that memory does not grow with the number of nodes. A state goes to each node once: the
one that is evaluated after a round is the one from which the next round's training starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar

from server.nodes.client import NodeClient
from server.nodes.link import Link
from server.nodes.members import Member
from server.rounds.evaluation import summary_of
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan, node_seed
from shared.errors import NodeFailed, PolicyRefused
from shared.model.recipe import Recipe
from shared.model.vectors import Vector, new_object_id
from shared.wire.commands import (
    EVALUATE,
    TRAIN,
    EvaluateCommand,
    Progress,
    ProposeCommand,
    TrainCommand,
    TrainReport,
    Work,
)

MAX_TRANSFERS = 8
"""Models that are on their way at a time, each direction by itself."""

CLOCKS_APART = 1.05
"""How many times as fast a node's clock may go as the coordinator's."""
SLACK_SECONDS = 1.0
"""What a node may tell beyond that: the shortest waits are measured badly."""

Report = TypeVar("Report")
Meanwhile = Callable[[], None]
Tell = Callable[[int, str, str, Progress | None], None]
"""Told of a stage: the round's number, the node's id, the stage, and progress in it."""


class Exchange:
    """Asks the nodes of a run, each by itself.

    Args:
        recipe: what is trained.
        plan: the run's.
        tell: told of each stage that a node begins.

    Attributes:
        tell: as given.
        first_round: the number of the first round that this coordinator does.
    """

    def __init__(self, recipe: Recipe, plan: Plan, tell: Tell) -> None:
        self.first_round = 1
        self._recipe = recipe
        self._recipe_json = recipe.to_json()
        self._plan = plan
        self.tell = tell
        self._sending = asyncio.Semaphore(MAX_TRANSFERS)
        self._fetching = asyncio.Semaphore(MAX_TRANSFERS)

    async def train(
        self, number: int, member: Member, part: NodePart, base: OutgoingState
    ) -> tuple[TrainReport, Vector]:
        """Trains on one node, from the state `base`; what it told, and its trained state (P,).

        Raises:
            PolicyRefused: its owner's policy said no; it is not asked for a while.
            FedsmsError: what failed.
        """
        client = member.client
        part.asks(TRAIN)
        command = self.training(number, member.id, base)
        with part.measured(client.link):
            await self.hold(number, member, base)
            self.tell(number, member.id, "training", None)
            try:
                report = await client.train(
                    command, lambda progress: self.tell(number, member.id, "training", progress)
                )
            except PolicyRefused:
                member.rest()
                raise
            report = self._plausible(number, member.id, report, part.waited(TRAIN))
            async with self._fetching:
                self.tell(number, member.id, "fetching", None)
                trained = await client.fetch_state(command.result_id, base.state)
        return report, trained

    def training(
        self, number: int, node: str, base: OutgoingState, *, secure: bool = False
    ) -> TrainCommand:
        """The command that has a node train in a round."""
        return TrainCommand(
            state_id=base.id,
            result_id=new_object_id(),
            run=self._plan.run,
            recipe=self._recipe_json,
            seed=node_seed(self._plan.seed, node, number),
            order=node_seed(self._plan.seed, node, 0),
            round=number,
            rounds=self._recipe.federation.rounds,
            secure=secure,
        )

    async def hold(
        self,
        number: int,
        member: Member,
        state: OutgoingState,
        work: Work = TRAIN,
        *,
        secure: bool = False,
    ) -> None:
        """Sends a node the state that a round begins with, unless it holds it.

        Raises:
            PolicyRefused: its owner's policy would not let it do the work; it is not asked for a
                while.
            FedsmsError: what failed.
        """
        if state.id in member.holds:
            return
        rounds = 1 if work == EVALUATE else self._recipe.federation.rounds
        try:
            await member.client.propose(self._proposal(work, rounds, secure))
        except PolicyRefused:
            member.rest()
            raise
        self.tell(number, member.id, "sending", None)
        await self._send_whole(member, state)

    def _plausible(self, number: int, node: str, report: TrainReport, waited: float) -> TrainReport:
        """The report. Raises NodeFailed where its seconds are more than anybody waited.

        Only what a node did for the coordinator before this one may have taken longer: a run that
        was resumed asks again for what its nodes may remember. No more than was waited is told.
        """
        if not (self._plan.resumed and number == self.first_round):
            check_seconds(node, report.seconds_training + report.seconds_waiting, waited)
            return report
        training = min(report.seconds_training, waited)
        waiting = min(report.seconds_waiting, waited - training)
        return report.model_copy(update={"seconds_training": training, "seconds_waiting": waiting})

    def _proposal(self, work: Work, rounds: int, secure: bool) -> ProposeCommand:
        """Has a node judge what will be asked, so that no state is sent for nothing."""
        return ProposeCommand(
            work=work, run=self._plan.run, recipe=self._recipe_json, rounds=rounds, secure=secure
        )

    async def _send_whole(self, member: Member, state: OutgoingState) -> None:
        async with self._sending:
            link, client = member.link, member.client
            packed, _ = state.packed(held=set())
            for old in set(member.holds):
                await client.forget(old)
            await client.send_state(packed)
        _now_holds(member, link, state)

    async def evaluate(
        self, number: int, member: Member, part: NodePart, state: OutgoingState
    ) -> None:
        """Sends a state to one node and has it evaluated; it replaces the one before.

        Raises:
            PolicyRefused: its owner's policy refused the evaluation.
            FedsmsError: what failed.
        """

        def tell(progress: Progress) -> None:
            self.tell(number, member.id, "evaluating", progress)

        report = await self.evaluated_by(
            number, member, part, state, lambda client, command: client.evaluate(command, tell)
        )
        summary_of(member.id, report)
        told = report.seconds_evaluating + report.seconds_waiting
        check_seconds(member.id, told, part.waited(EVALUATE))
        part.evaluated(report)
        self.tell(number, member.id, "waiting", None)

    async def evaluated_by(
        self,
        number: int,
        member: Member,
        part: NodePart,
        state: OutgoingState,
        ask: Callable[[NodeClient, EvaluateCommand], Coroutine[Any, Any, Report]],
        *,
        secure: bool = False,
        meanwhile: Meanwhile | None = None,
    ) -> Report:
        """What a node answers to `ask`, which the state goes before; raises as `evaluate` does.

        Args:
            secure: inside the round's secure sum.
            meanwhile: called once the node has the state, while it evaluates.
        """
        link, client, old = member.link, member.client, set(member.holds)
        part.asks(EVALUATE)
        self.tell(number, member.id, "evaluating", None)
        packed, base_id = state.packed(old)
        command = EvaluateCommand(
            state_id=state.id,
            base_id=base_id,
            recipe=self._recipe_json,
            secure=(self._plan.run, number) if secure else None,
        )
        with part.measured(client.link):
            if state.id in old:
                return await ask(client, command)
            if not old:
                await client.propose(self._proposal(EVALUATE, 1, secure))
            evaluate = partial(ask, client, command)
            try:
                report = await self._replace_and_evaluate(
                    client, packed, evaluate, old, meanwhile or _nothing
                )
            except PolicyRefused:  # of the evaluation alone: the state is there
                _now_holds(member, link, state)
                raise
        _now_holds(member, link, state)
        return report

    async def _replace_and_evaluate(
        self,
        client: NodeClient,
        packed: bytes,
        evaluate: Callable[[], Coroutine[Any, Any, Report]],
        old: set[int],
        meanwhile: Meanwhile,
    ) -> Report:
        """A node gets a state, evaluates it, and forgets the old ones.

        The three go over the wire one after the other, without waiting for an answer in between.
        Only the sending, which moves a model, takes its turn among the nodes.

        Raises:
            PolicyRefused: the owner's policy refused the evaluation; the rest is done.
            FedsmsError: what failed.
        """
        begun: list[asyncio.Task[Any]] = []
        try:
            async with self._sending:
                sending = asyncio.create_task(client.send_state(packed))
                evaluating = asyncio.create_task(evaluate())
                forgetting = asyncio.create_task(_forget(client, old))
                begun = [sending, evaluating, forgetting]
                await asyncio.wait([sending])
            meanwhile()
            await asyncio.gather(sending, evaluating, forgetting)
            return evaluating.result()
        except PolicyRefused:
            await asyncio.gather(sending, forgetting)  # what fails there is worse
            raise
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)


def check_seconds(node: str, told: float, waited: float) -> None:
    """Raises NodeFailed where a node tells of more seconds than the coordinator waited for it.

    Some room is left for clocks that go differently fast.
    """
    if told > CLOCKS_APART * waited + SLACK_SECONDS:
        raise NodeFailed(
            f"node {node} sent impossible seconds",
            f"{told:,.1f} s of work and waiting, and the answer came after {waited:,.1f} s",
        )


def _now_holds(member: Member, link: Link | None, state: OutgoingState) -> None:
    """Notes what a node got over a connection, unless that was lost since: with it all is lost."""
    if member.link is link:
        member.holds = {state.id}


def _nothing() -> None:
    pass


async def _forget(client: NodeClient, object_ids: Iterable[int]) -> None:
    await asyncio.gather(*(client.forget(object_id) for object_id in object_ids))
