"""The coordinator's round loop: send, train, get, aggregate, measure.

What it asks of one node is in server/rounds/exchange.py. A node that fails is left out of the
round, and asked again in the next one; see server/rounds/step.py.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from server.aggregation.aggregators import Aggregate, Aggregator, MakeAggregator
from server.aggregation.rules import make_aggregator
from server.aggregation.server_optimizer import ServerOptimizer, make_server_optimizer
from server.nodes.members import Member, Members
from server.rounds.claims import claim_words, counted_rows
from server.rounds.cohort import draw_order
from server.rounds.evaluation import Evaluation, evaluated
from server.rounds.exchange import Exchange
from server.rounds.node_part import NodePart, evaluations
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from server.rounds.records import Observer, Proceed, Round
from server.rounds.step import StepResult, Terms, take_step
from shared.errors import FedsmsError, NodeFailed, one_line
from shared.model.metrics import Metrics
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import Progress


class Coordinator:
    """Trains a recipe's model on the nodes.

    Args:
        members: the nodes; whoever made them closes them.
        recipe: what is trained, and for how many rounds.
        plan: how.
        observers: told of progress and of each completed round.
        make: how a round's results become a state; None for the rule that the recipe names.
        optimizer: what then becomes of that state; None for what the recipe names, from its start.
    """

    def __init__(
        self,
        members: Members,
        recipe: Recipe,
        plan: Plan,
        observers: Sequence[Observer] = (),
        make: MakeAggregator | None = None,
        optimizer: ServerOptimizer | None = None,
    ) -> None:
        self._members = members
        self._recipe = recipe
        self._plan = plan
        self._observers = observers
        self._make_aggregator = make or partial(make_aggregator, recipe.federation)
        self._optimizer = optimizer or make_server_optimizer(recipe.federation)
        self._asked = min(plan.cohort or len(members.all), len(members.all))
        self._need = plan.min_nodes.of(self._asked)
        self._exchange = Exchange(recipe, plan, self._tell)
        self._mark = 0.0  # when the last round's record was made: no time falls between rounds
        self._claims: dict[str, int] = {}  # training rows that each node last told, by its id

    async def run(
        self, state: Vector, completed: int = 0, proceed: Proceed | None = None
    ) -> Vector:
        """All rounds, from a start state (P,); gives the final one.

        Safe to cancel: completed rounds have been told to the observers.

        Args:
            completed: rounds that are done already; `state` is what they ended with.
            proceed: awaited after each round, in whose seconds its time is not counted; None goes
                on at once.

        Raises:
            QuorumLost: too few nodes took part for too long.
            FedsmsError: too few nodes could do what was asked; the error names one.
        """
        self._mark = time.perf_counter()
        self._exchange.first_round = completed + 1
        current = OutgoingState(state)
        for number in range(completed + 1, self._recipe.federation.rounds + 1):
            self._members.notify = partial(self._notice, number)
            record, current = await self._round(number, current)
            if proceed is not None:
                if not await proceed(record):
                    break
                self._mark = time.perf_counter()
        return current.state

    async def evaluate(self, state: Vector) -> tuple[Metrics, dict[str, Metrics]]:
        """Metrics of a state (P,) on all owners' held-out rows: overall, and by node id."""
        parts = {member.id: NodePart(member.id) for member in self._members.all}
        await self._measure(0, self._members.all, parts, OutgoingState(state))
        evaluation = self._evaluated(parts)
        return evaluation.overall, dict(evaluation.each)

    async def _round(self, number: int, base: OutgoingState) -> tuple[Round, OutgoingState]:
        chosen = self._choose(number)
        parts = {member.id: NodePart(member.id) for member in chosen}
        aggregator = self._make_aggregator(base.state)
        claims = self._heard(chosen)
        trained = await take_step(
            self._members,
            chosen,
            lambda member: self._train(number, member, parts[member.id], base, aggregator, claims),
            Terms(self._need, self._members.timeouts.round_deadline),
            "training",
        )
        aggregate = _checked(aggregator.finish(), base.state)
        for node, why in aggregate.refused.items():
            parts[node].left_out = why
            self._notice(number, node, f"is left out: {why}")
        following = OutgoingState(self._optimizer.step(base.state, aggregate.state), base)
        measured = await self._measure(number, trained.done, parts, following)
        for node, error in measured.left_out.items():
            parts[node].left_out = f"not evaluated: {one_line(error)}"
        following.drop_base()
        record = self._complete(number, trained, parts)
        for observer in self._observers:
            observer.on_round(record, following.state)
        return record, following

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
        claims: Mapping[str, int],
    ) -> None:
        """Trains on one node, and adds what it gives back.

        Args:
            claims: as `_heard` gives them before the round, so that no order of results counts.
        """
        report, trained = await self._exchange.train(number, member, part, base)
        bound = self._recipe.federation.rows_bound
        counted = counted_rows({**claims, member.id: report.rows}, bound)[member.id]
        if counted < report.rows:
            self._notice(number, member.id, claim_words(report.rows, counted, bound))
        try:
            aggregator.add(member.id, trained, counted)
        except ValueError as error:
            raise NodeFailed(f"node {member.id} gave back what cannot be", str(error)) from error
        part.trained(report, counted)
        self._tell(number, member.id, "waiting")

    async def _measure(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: dict[str, NodePart],
        state: OutgoingState,
    ) -> StepResult:
        need = min(self._need, len(chosen))
        return await take_step(
            self._members,
            chosen,
            lambda member: self._exchange.evaluate(number, member, parts[member.id], state),
            Terms(need, deadline=0),  # evaluate_timeout holds for each
            "evaluating",
        )

    def _heard(self, chosen: Sequence[Member]) -> dict[str, int]:
        """How many training rows each node of a cohort claims; of one that is away, claimed last.

        Nodes that a round needs have all been there once, so none of those that it may come to
        weigh against each other is unheard.
        """
        for member in self._members.present:
            if member.link is not None:
                self._claims[member.id] = member.link.greeting.rows.get("train", 0)
        return {one.id: self._claims[one.id] for one in chosen if one.id in self._claims}

    def _evaluated(self, parts: dict[str, NodePart]) -> Evaluation:
        """The figures of those who evaluated; whose claim was cut is told."""
        bound = self._recipe.federation.rows_bound
        evaluation = evaluated(evaluations(parts.values()), bound)
        for node, (rows, counted) in evaluation.cut.items():
            words = claim_words(rows, counted, bound, "held-out rows")
            self._members.notify(node, words)
        return evaluation

    def _notice(self, number: int, node: str, text: str) -> None:
        for observer in self._observers:
            observer.on_notice(number, node, text)

    def _tell(self, number: int, node: str, stage: str, progress: Progress | None = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, node, stage, progress)

    def _complete(self, number: int, trained: StepResult, parts: dict[str, NodePart]) -> Round:
        """The record of a round that was measured; no time falls between two of them."""
        evaluation = self._evaluated(parts)
        started, self._mark = self._mark, time.perf_counter()
        seconds = self._mark - started
        nodes = [parts[member.id].record(evaluation, seconds) for member in trained.done]
        return Round.of(
            number,
            self._recipe.federation.rounds,
            nodes,
            evaluation.overall,
            seconds,
            seconds_training=max(node.seconds_training for node in nodes),
            left_out={node: one_line(error) for node, error in trained.left_out.items()},
        )


def _checked(aggregate: Aggregate, base: Vector) -> Aggregate:
    """The aggregate. Raises FedsmsError where a rule that somebody brought gave no state."""
    state = aggregate.state
    if state.dtype != base.dtype or state.shape != base.shape or not np.isfinite(state).all():
        raise FedsmsError(
            "the aggregation rule gave back what is no state of the model",
            f"{state.dtype} {state.shape} in place of {base.dtype} {base.shape}, all finite",
            "See Aggregator in server/aggregation/aggregators.py for what a rule must give.",
        )
    return aggregate
