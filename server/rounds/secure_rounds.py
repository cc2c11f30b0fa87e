"""Rounds in which the coordinator sees sums alone: secure aggregation over the nodes' connections.

    keys -> shares -> train -> who is in -> open        of the trainings, and likewise of the counts

The protocol is in server/secure_aggregation/; here are its steps on many nodes, each with whoever
did the one before. Keys and shares of a round travel while the one before is measured, so that two
small exchanges a sum are all that lies on the way. docs/privacy.md shows all of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from server.nodes.members import Member, Members
from server.rounds.evaluation import Evaluation
from server.rounds.exchange import Exchange
from server.rounds.gathering import Measured, Trained
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from server.rounds.secure_exchange import OF_THIS_ROUND, SecureExchange
from server.rounds.secure_sums import BOTH, FEWEST_OWNERS, RoundSums, Secure, SumLost
from server.rounds.step import StepResult, Terms, take_step
from server.rounds.summed import evaluation_from, measures, trained_from
from server.secure_aggregation.aggregation import Aggregation
from shared.errors import PAUSE, FedsmsError, PolicyRefused, QuorumLost, one_line
from shared.model.metrics import merge, metrics_from
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import state_digest
from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.kinds import Sum
from shared.wire.commands import COMPARE, EVALUATE, TRAIN, Work

log = logging.getLogger("fedsms.coordinator")
Ask = Callable[[Member], Awaitable[None]]
_WORK: Mapping[Sum, Work] = {"training": TRAIN, "evaluation": EVALUATE, "comparison": COMPARE}


class SecureRounds:
    """A Gathering whose results are sums.

    Args:
        need: nodes that a round needs.
    """

    def __init__(
        self,
        plain: Exchange,
        exchange: SecureExchange,
        members: Members,
        recipe: Recipe,
        plan: Plan,
        need: int,
        secure: Secure,
    ) -> None:
        self._plain = plain
        self._exchange = exchange
        self._members = members
        self._recipe = recipe
        self._plan = plan
        self._need = need
        self._secure = secure
        self._now: RoundSums | None = None
        self._ahead: RoundSums | None = None
        self._asked_ahead: set[asyncio.Task[None]] = set()

    async def train(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        base: OutgoingState,
    ) -> Trained:
        sums = await self._begin(number, chosen, base)
        total = sums["training"]
        left_out: dict[str, FedsmsError] = {}
        dealers = await self._share_keys(sums, chosen, parts, base, left_out)

        async def train(member: Member) -> None:
            # who lost its connection since the keys came is without the state
            part = parts[member.id]
            with part.measured(member.client.link):
                await self._plain.hold(number, member, base, secure=True)
                await self._deliver(sums, member)
            masked = await self._exchange.train(number, member, part, base)
            total.take_masked(member.id, masked)

        trained = await self._take(
            "training", dealers, train, total.threshold, self._members.timeouts.round_deadline
        )
        left_out |= trained.left_out
        numbers = await self._opened(number, total, trained.done, parts, "training")
        return trained_from(numbers, self._recipe, number, base, StepResult(trained.done, left_out))

    async def measure(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        state: OutgoingState,
    ) -> Measured:
        sums = self._now
        assert sums is not None
        if number < self._recipe.federation.rounds and len(chosen) == len(self._members.all):
            self._ahead = self._new_sums(number + 1, state)
        try:
            evaluation, left_out = await self._measured(sums, chosen, parts, state)
        except FedsmsError as lost:
            # of a private run an owner's ledger may refuse it; the model has cost what it has
            if not (isinstance(lost, SumLost) or self._recipe.is_private):
                raise
            self._members.notify("", f"its held-out figures are lost: {one_line(lost)}")
            return Measured(Evaluation(metrics_from(merge(()))), {})
        return Measured(evaluation, left_out)

    async def evaluate(self, chosen: Sequence[Member], state: OutgoingState) -> Evaluation:
        parts = {member.id: NodePart(member.id) for member in chosen}
        sums = RoundSums.of(1, self._plan.run, self._recipe, state, self._secure, ("evaluation",))
        left_out: dict[str, FedsmsError] = {}
        dealers = await self._share_keys(sums, chosen, parts, state, left_out)
        return (await self._measured(sums, dealers, parts, state))[0]

    async def _measured(
        self,
        sums: RoundSums,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        state: OutgoingState,
    ) -> tuple[Evaluation, dict[str, str]]:
        total = sums["evaluation"]
        total.measured = state_digest(state.state)
        dealers = [member for member in chosen if member.id in total.dealers]

        async def evaluate(member: Member) -> None:
            part = parts[member.id]
            with part.measured(member.client.link):
                await self._deliver(sums, member)
            masked = await self._exchange.evaluate(
                sums.number, member, part, state, lambda: self._ask_ahead(member)
            )
            total.take_masked(member.id, masked)

        done = await self._take("evaluating", dealers, evaluate, total.threshold)
        numbers = await self._opened(sums.number, total, done.done, parts, "evaluating")
        left_out = {
            node: f"not evaluated: {one_line(error)}" for node, error in done.left_out.items()
        }
        return evaluation_from(numbers, self._recipe, self._members.notify), left_out

    async def _begin(self, number: int, chosen: Sequence[Member], base: OutgoingState) -> RoundSums:
        """The sums of a round: those begun ahead, those of a killed coordinator, or new ones."""
        await asyncio.gather(*self._asked_ahead, return_exceptions=True)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and (ahead.number, ahead.state) == (number, base.id):
            self._now = ahead
        else:
            self._now = self._new_sums(number, base)
            if self._plan.resumed and number == self._plain.first_round:
                self._now.restore()
        return self._now

    def _new_sums(self, number: int, state: OutgoingState) -> RoundSums:
        kinds = BOTH if measures(self._recipe, self._plan, number) else BOTH[:1]
        return RoundSums.of(number, self._plan.run, self._recipe, state, self._secure, kinds)

    async def _share_keys(
        self,
        sums: RoundSums,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        base: OutgoingState,
        left_out: dict[str, FedsmsError],
    ) -> list[Member]:
        """Keys and shares of everybody; gives who dealt, and adds who did not to `left_out`."""

        async def give_keys(member: Member) -> None:
            part = parts[member.id]
            with part.measured(member.client.link):
                await self._plain.hold(sums.number, member, base, _WORK[sums.kinds[0]], secure=True)
                await self._keys_of(sums, member)

        async def deal(member: Member) -> None:
            with parts[member.id].measured(member.client.link):
                await self._shares_of(sums, member)

        need = max(self._need, min(FEWEST_OWNERS, len(chosen)))
        await self._members.gather(chosen, need)  # who failed in a lost round is dialled again
        keyed = await take_step(self._members, chosen, give_keys, Terms(need, 0), "exchanging keys")
        left_out |= keyed.left_out
        sums.make_rosters()
        there = [member for member in keyed.done if member.id in sums.roster_ids]
        dealt = await self._take("exchanging shares", there, deal, sums.threshold)
        left_out |= dealt.left_out
        return dealt.done

    async def _keys_of(self, sums: RoundSums, member: Member) -> None:
        for which in sums.without_keys_of(member.id):
            keys = await self._exchange.keys(sums.number, member, which, sums.state)
            sums.take_keys(which, member.id, keys)

    async def _shares_of(self, sums: RoundSums, member: Member) -> None:
        for which in sums.without_shares_of(member.id):
            roster = sums[which].make_roster()
            dealt = await self._exchange.step(sums.number, member, which, "share", roster)
            sums[which].take_dealt(member.id, dealt)

    async def _deliver(self, sums: RoundSums, member: Member) -> None:
        """Hands a node what others dealt to it, in all sums of the round."""
        for which in sums.kinds:
            if member.id in sums[which].dealers:
                delivery = sums[which].make_delivery(member.id)
                await self._exchange.step(sums.number, member, which, "receive", delivery)

    async def _opened(
        self,
        number: int,
        total: Aggregation,
        survivors: Sequence[Member],
        parts: Mapping[str, NodePart],
        name: str,
    ) -> Ring:
        """The sum of the survivors' vectors.

        Raises:
            SumLost: too few agreed on them, or opened it.
        """
        which = total.context.sum
        try:
            proposal = total.make_proposal()

            async def agree(member: Member) -> None:
                with parts[member.id].measured(member.client.link):
                    signed = await self._exchange.step(number, member, which, "agree", proposal)
                total.take_statement(member.id, signed)

            agreed = await self._take(f"agreeing ({name})", survivors, agree, total.threshold)
            agreement = total.make_agreement()

            async def open_sum(member: Member) -> None:
                with parts[member.id].measured(member.client.link):
                    opening = await self._exchange.step(number, member, which, "open", agreement)
                total.take_opening(member.id, opening)

            await self._take(f"opening ({name})", agreed.done, open_sum, total.threshold)
            return total.result()
        except QuorumLost as error:
            for node, why in total.faulty.items():
                self._members.notify(node, f"spoiled a secure sum: {why}")
            raise SumLost.of(error) from error

    async def _take(
        self, name: str, chosen: Sequence[Member], part: Ask, need: int, deadline: float = 0
    ) -> StepResult:
        """A step after the keys: where too few take it the round is lost, and not the run.

        Raises:
            SumLost: too few took it. PolicyRefused: an owner's terms do not allow such sums.
        """
        try:
            return await take_step(self._members, chosen, part, Terms(need, deadline), name)
        except FedsmsError as error:
            if isinstance(error, PolicyRefused) and error.rule not in (*OF_THIS_ROUND, PAUSE):
                raise
            raise SumLost.of(error) from error

    def _ask_ahead(self, member: Member) -> None:
        """Asks for the next round's keys as soon as a node has the state, and then for shares."""
        if self._ahead is None:
            return
        task = asyncio.create_task(self._keys_ahead(self._ahead, member))
        self._asked_ahead.add(task)
        task.add_done_callback(self._asked_ahead.discard)

    async def _keys_ahead(self, sums: RoundSums, member: Member) -> None:
        try:
            await self._keys_of(sums, member)
            everybody = {one.id for one in self._members.all}
            if sums.has_keys_of(everybody):
                sums.make_rosters()
                await asyncio.gather(*(self._shares_of(sums, one) for one in self._members.all))
        except FedsmsError as error:
            log.debug("keys ahead of round %d, %s: %s", sums.number, member.id, error)
