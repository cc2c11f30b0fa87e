"""The coordinator's round loop: send, train, get, aggregate, measure.

All nodes work at the same time, transfers included, though only some models are on the way at a
time, so that memory does not grow with the number of nodes. A state goes to each node once: the
one that is evaluated after a round is the one from which the next round's training starts. A node
that fails is left out of the round, and asked again in the next one; see server/rounds/step.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from server.aggregation.aggregators import Aggregator, make_aggregator
from server.nodes.members import Member, Members
from server.rounds.cohort import draw_order
from server.rounds.evaluation import merged_metrics, summary_of
from server.rounds.outgoing_state import Outgoing
from server.rounds.plan import Plan, node_seed
from server.rounds.records import Observer, Round
from server.rounds.step import Gathered, Terms, gather
from server.rounds.turn import Turn, evaluations
from shared.errors import NodeFailed, PolicyRefused, one_line
from shared.model.metrics import Metrics
from shared.model.recipe import Recipe
from shared.model.vectors import Vector, new_object_id
from shared.wire.commands import EvaluateCommand, TrainCommand

MOST_TRANSFERS = 8
"""Models that are on their way at a time, each direction by itself."""


class Coordinator:
    """Trains a recipe's model on the nodes.

    Args:
        members: the nodes; whoever made them closes them.
        recipe: what is trained, and for how many rounds.
        plan: how.
        observers: told of progress and of each completed round.
    """

    def __init__(
        self, members: Members, recipe: Recipe, plan: Plan, observers: Sequence[Observer] = ()
    ) -> None:
        self._members = members
        self._recipe = recipe
        self._recipe_json = recipe.to_json()
        self._plan = plan
        self._observers = observers
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
        current = Outgoing(state)
        for number in range(completed + 1, self._recipe.federation.rounds + 1):
            self._members.notify = partial(self._notice, number)
            current = await self._round(number, current)
        return current.state

    async def evaluate(self, state: Vector) -> tuple[Metrics, dict[str, Metrics]]:
        """Metrics of a state (P,) on all owners' held-out rows: overall, and by node id."""
        turns = {member.id: Turn(member.id) for member in self._members.all}
        await self._measure(0, self._members.all, turns, Outgoing(state))
        return merged_metrics(evaluations(turns.values()))

    async def _round(self, number: int, base: Outgoing) -> Outgoing:
        chosen = self._choose(number)
        turns = {member.id: Turn(member.id) for member in chosen}
        aggregator = make_aggregator(self._recipe.federation, base.state)
        trained = await gather(
            self._members,
            chosen,
            lambda member: self._train(number, member, turns[member.id], base, aggregator),
            Terms(self._need, self._members.timeouts.round_deadline),
            "training",
        )
        aggregate = aggregator.finish()
        for node, why in aggregate.refused.items():
            turns[node].left_out = why
            self._notice(number, node, f"is left out: {why}")
        following = Outgoing(aggregate.state, base)
        measured = await self._measure(number, trained.done, turns, following)
        for node, error in measured.left_out.items():
            turns[node].left_out = f"not evaluated: {one_line(error)}"
        following.drop_base()
        record = self._complete(number, trained, turns)
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
        self, number: int, member: Member, turn: Turn, base: Outgoing, aggregator: Aggregator
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
        with turn.measured(client.link):
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
        turn.transfer -= report.seconds_training + report.seconds_waiting
        turn.report = report
        self._tell(number, member, "waiting")

    async def _send_whole(self, member: Member, state: Outgoing) -> None:
        async with self._sending:
            packed, _ = state.packed(held=set())
            for old in member.holds:
                await member.client.forget(old)
            await member.client.send_state(packed)
        member.holds = {state.id}

    async def _measure(
        self, number: int, chosen: Sequence[Member], turns: dict[str, Turn], state: Outgoing
    ) -> Gathered:
        need = min(self._need, len(chosen))
        return await gather(
            self._members,
            chosen,
            lambda member: self._evaluate(number, member, turns[member.id], state),
            Terms(need, deadline=0),  # evaluate_timeout holds for each
            "evaluating",
        )

    async def _evaluate(self, number: int, member: Member, turn: Turn, state: Outgoing) -> None:
        """Sends a state to one node and has it evaluated; it replaces the one before."""
        client, old = member.client, set(member.holds)
        self._tell(number, member, "evaluating")
        packed, base_id = state.packed(old)
        command = EvaluateCommand(state_id=state.id, base_id=base_id, recipe=self._recipe_json)
        with turn.measured(client.link):
            # One after the other on the wire, without waiting for an answer in between.
            steps = [client.send_state(packed), client.evaluate(command)]
            steps += [client.forget(object_id) for object_id in old]
            try:
                report = await self._first_in_line(steps)
            except PolicyRefused:  # of the evaluation alone: the other steps are done
                member.holds = {state.id}
                raise
        summary_of(member.id, report)
        turn.transfer -= report.seconds_evaluating + report.seconds_waiting
        turn.evaluation = report
        member.holds = {state.id}
        self._tell(number, member, "waiting")

    async def _first_in_line(self, steps: list[Coroutine[Any, Any, Any]]) -> Any:
        """All steps at once; the first, which moves a model, takes its turn. Gives the second's.

        Raises PolicyRefused only where every other step is done.
        """
        tasks: list[asyncio.Task[Any]] = []
        try:
            async with self._sending:
                tasks = [asyncio.create_task(step) for step in steps]
                await asyncio.wait(tasks[:1])
            return (await asyncio.gather(*tasks))[1]
        except PolicyRefused:
            await asyncio.gather(tasks[0], *tasks[2:])  # what fails there is worse
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for step in steps[len(tasks) :]:
                step.close()

    def _notice(self, number: int, node: str, text: str) -> None:
        for observer in self._observers:
            observer.on_notice(number, node, text)

    def _tell(self, number: int, member: Member, stage: str, progress: Any = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, member.id, stage, progress)

    def _complete(self, number: int, trained: Gathered, turns: dict[str, Turn]) -> Round:
        """The record of a round that was measured; no time falls between two of them."""
        started, self._mark = self._mark, time.perf_counter()
        seconds = self._mark - started
        overall, each = merged_metrics(evaluations(turns.values()))
        nodes = tuple(turns[member.id].record(each, seconds) for member in trained.done)
        rows = sum(node.rows for node in nodes)
        return Round(
            number=number,
            rounds=self._recipe.federation.rounds,
            loss=sum(node.loss * node.rows for node in nodes) / rows,
            metrics=overall,
            nodes=nodes,
            seconds=seconds,
            seconds_outside=seconds - max(node.seconds_training for node in nodes),
            left_out={node: one_line(error) for node, error in trained.left_out.items()},
        )
