"""Rounds in which the coordinator sees each node's trained state and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.aggregation.aggregators import Aggregator, MakeAggregator
from server.nodes.members import Member, Members
from server.rounds.claims import claim_words, counted_rows
from server.rounds.evaluation import Evaluation, evaluated
from server.rounds.exchange import Exchange
from server.rounds.gathering import Measured, Trained
from server.rounds.node_part import NodePart, evaluations
from server.rounds.outgoing_state import OutgoingState
from server.rounds.step import Terms, take_step
from shared.errors import NodeFailed, one_line
from shared.model.recipe import Recipe


class PlainRounds:
    """A Gathering; results are added to the rule as they come.

    Args:
        need: nodes that a round needs.
        make: how a round's results become a state.
    """

    def __init__(
        self,
        exchange: Exchange,
        members: Members,
        recipe: Recipe,
        need: int,
        make: MakeAggregator,
    ) -> None:
        self._exchange = exchange
        self._members = members
        self._rows_bound = recipe.federation.rows_bound
        self._need = need
        self._make = make
        self._claims: dict[str, int] = {}  # training rows that each node last told, by its id

    async def train(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        base: OutgoingState,
    ) -> Trained:
        aggregator = self._make(base.state)
        claims = self._heard(chosen)
        step = await take_step(
            self._members,
            chosen,
            lambda member: self._train(number, member, parts[member.id], base, aggregator, claims),
            Terms(self._need, self._members.timeouts.round_deadline),
            "training",
        )
        aggregate = aggregator.finish()
        for node, why in aggregate.refused.items():
            parts[node].left_out = why
            self._members.notify(node, f"is left out: {why}")
        return Trained(step, aggregate)

    async def measure(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        state: OutgoingState,
    ) -> Measured:
        step = await take_step(
            self._members,
            chosen,
            lambda member: self._exchange.evaluate(number, member, parts[member.id], state),
            Terms(min(self._need, len(chosen)), deadline=0),  # evaluate_timeout holds for each
            "evaluating",
        )
        left_out = {
            node: f"not evaluated: {one_line(error)}" for node, error in step.left_out.items()
        }
        return Measured(self._evaluated(parts), left_out)

    async def evaluate(self, chosen: Sequence[Member], state: OutgoingState) -> Evaluation:
        parts = {member.id: NodePart(member.id) for member in chosen}
        return (await self.measure(0, chosen, parts, state)).evaluation

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
        bound = self._rows_bound
        counted = counted_rows({**claims, member.id: report.rows}, bound)[member.id]
        if counted < report.rows:
            self._members.notify(member.id, claim_words(report.rows, counted, bound))
        try:
            aggregator.add(member.id, trained, counted)
        except ValueError as error:
            raise NodeFailed(f"node {member.id} gave back what cannot be", str(error)) from error
        part.trained(report, counted)
        self._exchange.tell(number, member.id, "waiting", None)

    def _heard(self, chosen: Sequence[Member]) -> dict[str, int]:
        """How many training rows each node of a cohort claims; of one that is away, claimed last.

        Nodes that a round needs have all been there once, so none of those that it may come to
        weigh against each other is unheard.
        """
        for member in self._members.present:
            if member.link is not None:
                self._claims[member.id] = member.link.greeting.rows.get("train", 0)
        return {one.id: self._claims[one.id] for one in chosen if one.id in self._claims}

    def _evaluated(self, parts: Mapping[str, NodePart]) -> Evaluation:
        """The figures of those who evaluated; whose claim was cut is told."""
        bound = self._rows_bound
        evaluation = evaluated(evaluations(parts.values()), bound)
        for node, (rows, counted) in evaluation.cut.items():
            self._members.notify(node, claim_words(rows, counted, bound, "held-out rows"))
        return evaluation
