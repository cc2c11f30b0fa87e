"""The coordinator's round loop: send, train, get, aggregate, measure.

All nodes work at the same time, transfers included, though only some models are on the way at a
time, so that memory does not grow with the number of nodes. A state goes to each node once: the
one that is evaluated after a round is the one from which the next round's training starts. A node
that fails is left out of the round, and asked again in the next one; see server/rounds/step.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from server.aggregation.aggregator import Aggregator, MakeAggregator
from server.aggregation.rules import make_aggregator
from server.nodes.client import NodeClient
from server.nodes.members import Member, Members
from server.rounds.cohort import draw_order
from server.rounds.evaluation import merged_metrics, summary_of
from server.rounds.node_part import NodePart, evaluations
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan, node_seed
from server.rounds.records import Observer, Round
from server.rounds.step import Outcome, Terms, take_step
from shared.errors import NodeFailed, PolicyRefused, one_line
from shared.model.metrics import Metrics
from shared.model.recipe import Recipe
from shared.model.vectors import Vector, new_object_id
from shared.wire.commands import EvaluateCommand, EvaluateReport, TrainCommand

MOST_TRANSFERS = 8
"""Models that are on their way at a time, each direction by itself."""


class Coordinator:
    """Trains a recipe's model on the nodes.

    Args:
        members: the nodes; whoever made them closes them.
        recipe: what is trained, and for how many rounds.
        plan: how.
        observers: told of progress and of each completed round.
        aggregation: makes each round's aggregation rule; None takes the recipe's.
    """

    def __init__(
        self,
        members: Members,
        recipe: Recipe,
        plan: Plan,
        observers: Sequence[Observer] = (),
        aggregation: MakeAggregator | None = None,
    ) -> None:
        self._members = members
        self._recipe = recipe
        self._recipe_json = recipe.to_json()
        self._plan = plan
        self._observers = observers
        self._aggregation = aggregation or partial(make_aggregator, recipe.federation)
        self._asked = min(plan.cohort or len(members.all), len(members.all))
        self._need = plan.min_nodes.of(self._asked)
        self._sending = asyncio.Semaphore(MOST_TRANSFERS)
        self._fetching = asyncio.Semaphore(MOST_TRANSFERS)
        self._mark = 0.0  # when the last round's record was made: no time falls between rounds

    async def run(self, state: Vector, completed: int = 0) -> Vector:
        """All rounds, from a start state (P,); gives the final one.

        Safe to cancel: completed rounds have been told to the observers.

        Args:
            completed: rounds that are done already; `state` is what they ended with.

        Raises:
            QuorumLost: too few nodes took part for too long.
            FedsmsError: too few nodes could do what was asked; the error names one.
        """
        self._mark = time.perf_counter()
        current = OutgoingState(state)
        for number in range(completed + 1, self._recipe.federation.rounds + 1):
            self._members.notify = partial(self._notice, number)
            current = await self._round(number, current)
        return current.state

    async def evaluate(self, state: Vector) -> tuple[Metrics, dict[str, Metrics]]:
        """Metrics of a state (P,) on all owners' held-out rows: overall, and by node id."""
        parts = {member.id: NodePart(member.id) for member in self._members.all}
        await self._measure(0, self._members.all, parts, OutgoingState(state))
        return merged_metrics(evaluations(parts.values()))

    async def _round(self, number: int, base: OutgoingState) -> OutgoingState:
        chosen = self._choose(number)
        parts = {member.id: NodePart(member.id) for member in chosen}
        aggregator = self._aggregation(base.state)
        trained = await take_step(
            self._members,
            chosen,
            lambda member: self._train(number, member, parts[member.id], base, aggregator),
            Terms(self._need, self._members.timeouts.round_deadline),
            "training",
        )
        aggregate = aggregator.finish()
        for node, why in aggregate.refused.items():
            parts[node].left_out = why
            self._notice(number, node, f"is left out: {why}")
        following = OutgoingState(aggregate.state, base)
        measured = await self._measure(number, trained.done, parts, following)
        for node, error in measured.left_out.items():
            parts[node].left_out = f"not evaluated: {one_line(error)}"
        following.drop_base()
        record = self._complete(number, trained, parts)
        for observer in self._observers:
            observer.on_round(record, aggregate.state)
        return following

    def _choose(self, number: int) -> list[Member]:
        """Whom a round asks: its cohort, those who can be asked before the others."""
        by_id = {member.id: member for member in self._members.all}
        if self._asked == len(by_id):
            return self._members.all
        order = [by_id[node] for node in draw_order(by_id, self._plan.seed, number)]
        order.sort(key=lambda member: not member.is_ready)
        return sorted(order[: self._asked], key=lambda member: member.id)

    async def _train(
        self,
        number: int,
        member: Member,
        part: NodePart,
        base: OutgoingState,
        aggregator: Aggregator,
    ) -> None:
        """Trains on one node, from the state `base`, and adds what it gives back."""
        client, result_id = member.client, new_object_id()
        command = TrainCommand(
            state_id=base.id,
            result_id=result_id,
            run=self._plan.run,
            recipe=self._recipe_json,
            seed=node_seed(self._plan.seed, member.id, number),
            round=number,
            rounds=self._recipe.federation.rounds,
        )
        with part.measured(client.link):
            if base.id not in member.holds:
                self._tell(number, member, "sending")
                await self._send_whole(member, base)
            self._tell(number, member, "training")
            try:
                report = await client.train(
                    command, lambda progress: self._tell(number, member, "training", progress)
                )
            except PolicyRefused:
                member.rest()
                raise
            async with self._fetching:
                self._tell(number, member, "fetching")
                trained = await client.fetch_state(result_id, base.state)
        try:
            aggregator.add(member.id, trained, report.rows)
        except ValueError as error:
            raise NodeFailed(f"node {member.id} gave back what cannot be", str(error)) from error
        part.transfer -= report.seconds_training + report.seconds_waiting
        part.report = report
        self._tell(number, member, "waiting")

    async def _send_whole(self, member: Member, state: OutgoingState) -> None:
        async with self._sending:
            packed, _ = state.packed(held=set())
            for old in member.holds:
                await member.client.forget(old)
            await member.client.send_state(packed)
        member.holds = {state.id}

    async def _measure(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: dict[str, NodePart],
        state: OutgoingState,
    ) -> Outcome:
        need = min(self._need, len(chosen))
        return await take_step(
            self._members,
            chosen,
            lambda member: self._evaluate(number, member, parts[member.id], state),
            Terms(need, deadline=0),  # evaluate_timeout holds for each
            "evaluating",
        )

    async def _evaluate(
        self, number: int, member: Member, part: NodePart, state: OutgoingState
    ) -> None:
        """Sends a state to one node and has it evaluated; it replaces the one before."""
        client, old = member.client, set(member.holds)
        self._tell(number, member, "evaluating")
        packed, base_id = state.packed(old)
        command = EvaluateCommand(state_id=state.id, base_id=base_id, recipe=self._recipe_json)
        with part.measured(client.link):
            try:
                report = await self._send_and_evaluate(client, packed, command, old)
            except PolicyRefused:  # of the evaluation alone: all else is done
                member.holds = {state.id}
                raise
        summary_of(member.id, report)
        part.transfer -= report.seconds_evaluating + report.seconds_waiting
        part.evaluation = report
        member.holds = {state.id}
        self._tell(number, member, "waiting")

    async def _send_and_evaluate(
        self, client: NodeClient, packed: bytes, command: EvaluateCommand, old: set[int]
    ) -> EvaluateReport:
        """Sends a state, has it evaluated, and has the states before it forgotten.

        One after the other on the wire, with no answer waited for in between. Raises PolicyRefused
        only where all but the evaluation is done.
        """
        async with self._sending:
            sent = asyncio.create_task(client.send_state(packed))
            evaluated = asyncio.create_task(client.evaluate(command))
            forgotten = [asyncio.create_task(client.forget(object_id)) for object_id in old]
            tasks = [sent, evaluated, *forgotten]
            try:
                await asyncio.wait([sent])
            except BaseException:
                await _end(tasks)
                raise
        try:
            await asyncio.gather(*tasks)
        except PolicyRefused:
            await asyncio.gather(sent, *forgotten)  # what fails there is worse
            raise
        finally:
            await _end(tasks)
        return evaluated.result()

    def _notice(self, number: int, node: str, text: str) -> None:
        for observer in self._observers:
            observer.on_notice(number, node, text)

    def _tell(self, number: int, member: Member, stage: str, progress: Any = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, member.id, stage, progress)

    def _complete(self, number: int, trained: Outcome, parts: dict[str, NodePart]) -> Round:
        """The record of a round that was measured; no time falls between two of them."""
        started, self._mark = self._mark, time.perf_counter()
        seconds = self._mark - started
        overall, each = merged_metrics(evaluations(parts.values()))
        nodes = tuple(parts[member.id].record(each, seconds) for member in trained.done)
        return Round.of(
            number,
            self._recipe.federation.rounds,
            nodes,
            overall,
            seconds,
            training=max(node.seconds_training for node in nodes),
            left_out={node: one_line(error) for node, error in trained.left_out.items()},
        )


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
