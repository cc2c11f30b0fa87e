"""The coordinator's round loop: send, train, get, aggregate, measure.

How a round gets its numbers is in server/rounds/plain_rounds.py and secure_rounds.py. A node that
fails is left out of the round, and asked again in the next one; see server/rounds/step.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from server.aggregation.aggregators import Aggregate, MakeAggregator
from server.aggregation.rules import make_aggregator
from server.aggregation.server_optimizer import ServerOptimizer, make_server_optimizer
from server.nodes.members import Member, Members
from server.rounds.cohort import draw_order
from server.rounds.evaluation import Evaluation
from server.rounds.exchange import Exchange
from server.rounds.gathering import Gathering, Measured, Trained
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plain_rounds import PlainRounds
from server.rounds.plan import Plan
from server.rounds.private_rounds import PrivateRounds
from server.rounds.records import Observer, Proceed, Round
from server.rounds.secure_exchange import SecureExchange
from server.rounds.secure_rounds import SecureRounds
from server.rounds.secure_sums import Secure, SumLost
from server.rounds.summed import NOT_MEASURED, measures
from shared.errors import FedsmsError, one_line
from shared.model.metrics import Metrics
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import Progress

MAX_LOST = 3
"""Rounds in a row whose secure sums may be lost; then something is wrong that no round mends."""


class Coordinator:
    """Trains a recipe's model on the nodes.

    Args:
        members: the nodes; whoever made them closes them.
        recipe: what is trained, and for how many rounds.
        plan: how.
        observers: told of progress and of each completed round.
        make: how a round's results become a state; None for the rule that the recipe names.
        secure: what secure sums take; None has the nodes tell their own numbers.
        optimizer: what then becomes of that state; None for what the recipe names, from its start.
    """

    def __init__(
        self,
        members: Members,
        recipe: Recipe,
        plan: Plan,
        observers: Sequence[Observer] = (),
        make: MakeAggregator | None = None,
        secure: Secure | None = None,
        optimizer: ServerOptimizer | None = None,
    ) -> None:
        self._members = members
        self._recipe = recipe
        self._plan = plan
        self._observers = observers
        self._optimizer = optimizer or make_server_optimizer(recipe.federation)
        self._asked = min(plan.cohort or len(members.all), len(members.all))
        self._exchange = Exchange(recipe, plan, self._tell)
        need = plan.min_nodes.of(self._asked)
        self._gathering: Gathering
        if secure is None and recipe.is_private:
            in_clear = SecureExchange(self._exchange, recipe, plan, secure=False)
            self._gathering = PrivateRounds(self._exchange, in_clear, members, recipe, need)
        elif secure is None:
            rule = make or partial(make_aggregator, recipe.federation)
            self._gathering = PlainRounds(self._exchange, members, recipe, need, rule)
        else:
            secretly = SecureExchange(self._exchange, recipe, plan)
            self._gathering = SecureRounds(
                self._exchange, secretly, members, recipe, plan, need, secure
            )
        self._mark = 0.0  # when the last round's record was made: no time falls between rounds

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
            QuorumLost: too few nodes took part for too long; or MAX_LOST rounds were lost in a row.
            FedsmsError: too few nodes could do what was asked; the error names one.
        """
        self._mark = time.perf_counter()
        self._exchange.first_round = completed + 1
        current, lost = OutgoingState(state), 0
        for number in range(completed + 1, self._recipe.federation.rounds + 1):
            self._members.notify = partial(self._notice, number)
            try:
                record, current = await self._round(number, current)
            except SumLost as error:
                lost += 1
                if lost == MAX_LOST:
                    raise
                self._notice(number, "", f"is lost: {one_line(error)}; the next one begins")
                continue
            lost = 0
            if proceed is not None:
                if not await proceed(record):
                    break
                self._mark = time.perf_counter()
        return current.state

    async def evaluate(self, state: Vector) -> tuple[Metrics, dict[str, Metrics]]:
        """Metrics of a state (P,) on all owners' held-out rows: overall, and by node id."""
        evaluation = await self._gathering.evaluate(self._members.all, OutgoingState(state))
        return evaluation.overall, dict(evaluation.each)

    async def _round(self, number: int, base: OutgoingState) -> tuple[Round, OutgoingState]:
        chosen = self._choose(number)
        parts = {member.id: NodePart(member.id) for member in chosen}
        trained = await self._gathering.train(number, chosen, parts, base)
        mean = _checked(trained.aggregate, base.state).state
        following = OutgoingState(self._optimizer.step(base.state, mean), base)
        if measures(self._recipe, self._plan, number):
            measured = await self._gathering.measure(number, chosen, parts, following)
        else:
            measured = Measured(NOT_MEASURED, {})
        for node, why in measured.left_out.items():
            parts[node].left_out = why
        following.drop_base()
        record = replace(
            self._complete(number, trained, measured.evaluation, parts),
            scores=measured.evaluation.scores,
        )
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

    def _notice(self, number: int, node: str, text: str) -> None:
        for observer in self._observers:
            observer.on_notice(number, node, text)

    def _tell(self, number: int, node: str, stage: str, progress: Progress | None = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, node, stage, progress)

    def _complete(
        self, number: int, trained: Trained, evaluation: Evaluation, parts: dict[str, NodePart]
    ) -> Round:
        """The record of a round that was measured; no time falls between two of them."""
        started, self._mark = self._mark, time.perf_counter()
        seconds = self._mark - started
        took_part = [parts[member.id] for member in trained.step.done]
        rounds, metrics = self._recipe.federation.rounds, evaluation.overall
        training = max(part.training for part in took_part)
        left_out = {node: one_line(error) for node, error in trained.step.left_out.items()}
        if trained.rows is None or trained.loss is None:
            nodes = [part.record(evaluation, seconds) for part in took_part]
            return Round.of(
                number,
                rounds,
                nodes,
                metrics,
                seconds,
                seconds_training=training,
                left_out=left_out,
            )
        return Round.of_sum(
            number,
            rounds,
            [part.record_of_sum(seconds) for part in took_part],
            metrics,
            seconds,
            rows=trained.rows,
            loss=trained.loss,
            seconds_training=training,
            left_out=left_out,
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
