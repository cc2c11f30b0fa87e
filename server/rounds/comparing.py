"""Has each node train alone, at the same time, and measure that model beside the federated one.

Nothing of the owners' own models leaves the nodes but what is told of them: counts of held-out rows
and intervals, or, with secure aggregation, sums over all owners.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from server.nodes.members import Member, Members
from server.rounds.cohort import HALF
from server.rounds.comparison import Comparison, OwnerGains
from server.rounds.evaluation import summary_of
from server.rounds.exchange import Exchange, check_seconds
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan, new_run_id, node_seed
from server.rounds.records import Observer
from server.rounds.secure_exchange import SecureExchange
from server.rounds.secure_rounds import SecureRounds
from server.rounds.secure_sums import RoundSums, Secure, SumLost
from server.rounds.step import Terms, take_step
from shared.errors import FedsmsError, NodeFailed, PolicyRefused, one_line
from shared.model.comparison import FIGURES, gains_of
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.secure_aggregation.contents import decode_comparison
from shared.secure_aggregation.kinds import Sum
from shared.wire.commands import (
    COMPARE,
    CompareCommand,
    CompareReport,
    EvaluateReport,
    Progress,
)

_FROM_START = 0
"""Numbers the seed of what a node does alone: no round has this number."""


class Comparing:
    """Compares one model with the owners' own.

    Args:
        members: the nodes; whoever made them closes them.
        recipe: what the model was trained by.
        seed: the run's, from which its first state was drawn.
        rounds: how many the model had, 1 or more.
        observers: told of the stage "comparing", in the last of these rounds.
        secure: what secure sums take; None has the nodes tell their own counts.

    Attributes:
        rounds: as given.
    """

    def __init__(
        self,
        members: Members,
        recipe: Recipe,
        seed: int,
        rounds: int,
        observers: Sequence[Observer] = (),
        secure: Secure | None = None,
    ) -> None:
        self.rounds = rounds
        self._members = members
        self._recipe = recipe
        self._observers = observers
        self._secure = secure
        self._seed = seed
        # a run of its own: each of its secure sums is made once
        self._plan = Plan(seed, new_run_id())
        self._exchange = Exchange(recipe, self._plan, self._tell)

    async def compare(self, state: Vector) -> Comparison:
        """Compares a state (P,); raises as a round's training does.

        Raises:
            PolicyRefused: no owner allows it.
            QuorumLost: too few nodes took part for too long.
        """
        self._members.notify = self._notice
        base = OutgoingState(state)
        if self._secure is None:
            return await self._of_each(base)
        secretly = SecureExchange(self._exchange, self._recipe, self._plan)
        need = HALF.of(len(self._members.all))
        sums = _SecureComparing(
            self._exchange, secretly, self._members, self._recipe, self._plan, need, self._secure
        )
        return await sums.compare(self, base)

    async def _of_each(self, base: OutgoingState) -> Comparison:
        found: dict[str, OwnerGains] = {}

        async def compare(member: Member) -> None:
            part = NodePart(member.id)
            await self._exchange.hold(self.rounds, member, base, COMPARE)
            self._tell(self.rounds, member.id, "comparing")
            part.asks(COMPARE)
            try:
                report = await member.client.compare(
                    self.command(member.id, base), partial(self.progress, member.id)
                )
            except PolicyRefused:
                member.rest()
                raise
            told = report.seconds_comparing + report.seconds_waiting
            check_seconds(member.id, told, part.waited(COMPARE))
            held_out = member.client.link.greeting.rows.get("held_out", 0)
            found[member.id] = gains_told(member.id, report, held_out)
            self._tell(self.rounds, member.id, "waiting")

        terms = Terms(1, deadline=0)
        step = await take_step(self._members, self._members.all, compare, terms, "comparing")
        left_out = {node: one_line(error) for node, error in step.left_out.items()}
        owners = {node: found[node] for node in sorted(found)}
        return Comparison(self.rounds, owners, None, left_out)

    def command(self, node: str, base: OutgoingState, *, secure: bool = False) -> CompareCommand:
        """What a node is asked."""
        return CompareCommand(
            state_id=base.id,
            run=self._plan.run,
            recipe=self._recipe.to_json(),
            rounds=self.rounds,
            start=self._seed,
            seed=node_seed(self._seed, node, _FROM_START),
            secure=secure,
        )

    def progress(self, node: str, progress: Progress) -> None:
        """Tells the observers how far a node is."""
        self._tell(self.rounds, node, "comparing", progress)

    def _tell(self, number: int, node: str, stage: str, progress: Progress | None = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, node, stage, progress)

    def _notice(self, node: str, text: str) -> None:
        for observer in self._observers:
            observer.on_notice(self.rounds, node, text)


class _SecureComparing(SecureRounds):
    """The same where the coordinator sees sums alone: one round, of one sum."""

    async def compare(self, comparing: Comparing, base: OutgoingState) -> Comparison:
        """The owners' figures, summed."""
        members = self._members
        parts = {member.id: NodePart(member.id) for member in members.all}
        kinds: tuple[Sum, ...] = ("comparison",)
        sums = RoundSums.of(1, self._plan.run, self._recipe, base, self._secure, kinds)
        total = sums["comparison"]
        left_out: dict[str, FedsmsError] = {}
        dealers = await self._share_keys(sums, members.all, parts, base, left_out)

        async def compare(member: Member) -> None:
            # who lost its connection since the keys came is without the state
            await self._plain.hold(1, member, base, COMPARE, secure=True)
            await self._deliver(sums, member)
            part = parts[member.id]
            part.asks(COMPARE)
            report = await member.client.compare_secretly(
                comparing.command(member.id, base, secure=True),
                partial(comparing.progress, member.id),
            )
            told = report.seconds_working + report.seconds_waiting
            check_seconds(member.id, told, part.waited(COMPARE))
            total.take_masked(member.id, report.masked)

        step = await self._take("comparing", dealers, compare, total.threshold)
        left_out |= step.left_out
        numbers = await self._opened(1, total, step.done, parts, "comparing")
        try:
            summed = decode_comparison(numbers, len(step.done))
        except ValueError as error:
            raise SumLost("the secure sum of a comparison is impossible", str(error)) from error
        why = {node: one_line(error) for node, error in left_out.items()}
        return Comparison(comparing.rounds, {}, summed, why)


def gains_told(node: str, report: CompareReport, held_out: int) -> OwnerGains:
    """What a node's counts say of both models.

    Args:
        held_out: rows that the node greeted with.

    Raises:
        NodeFailed: the counts or intervals are impossible.
    """
    federated = summary_of(node, _as_evaluation(report.ham, report.spam, report.loss_sum), held_out)
    alone = summary_of(
        node, _as_evaluation(report.alone_ham, report.alone_spam, report.alone_loss_sum), held_out
    )
    if (alone.ham.sum(), alone.spam.sum()) != (federated.ham.sum(), federated.spam.sum()):
        raise NodeFailed(f"node {node} sent impossible counts", "its two models saw different rows")
    gains = gains_of(alone, federated, report.bounds)
    for name in FIGURES:
        low, high = report.bounds.get(name, (0, 0))
        if low > high or (name in report.bounds and gains[name].gain is None):
            raise NodeFailed(f"node {node} sent an impossible interval", f"of {name}")
    return OwnerGains(federated.rows, gains)


def _as_evaluation(ham: dict[int, int], spam: dict[int, int], loss_sum: float) -> EvaluateReport:
    return EvaluateReport(
        ham=ham, spam=spam, loss_sum=loss_sum, seconds_evaluating=0, seconds_waiting=0
    )
