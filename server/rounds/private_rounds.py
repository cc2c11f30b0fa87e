"""Rounds of a private run outside secure sums: each owner's numbers have all the noise themselves.

The coordinator adds them up. It sees each owner's gradients, rows, losses and counts with noise,
and nothing without; inside secure sums (server/rounds/secure_rounds.py) it sees the sums alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from server.nodes.members import Member, Members
from server.rounds.evaluation import Evaluation
from server.rounds.exchange import Exchange
from server.rounds.gathering import Measured, Trained
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.secure_exchange import SecureExchange
from server.rounds.step import Terms, take_step
from server.rounds.summed import NOT_MEASURED, evaluation_from, trained_from
from shared.errors import FedsmsError, NodeFailed, one_line
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import EVALUATION_NUMBERS, training_numbers
from shared.secure_aggregation.fixed_point import Ring


class PrivateRounds:
    """A Gathering whose results are sums of noisy numbers.

    Args:
        exchange: asks for numbers without masks.
        need: nodes that a round needs.
    """

    def __init__(
        self,
        plain: Exchange,
        exchange: SecureExchange,
        members: Members,
        recipe: Recipe,
        need: int,
    ) -> None:
        self._plain = plain
        self._exchange = exchange
        self._members = members
        self._recipe = recipe
        self._need = need

    async def train(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        base: OutgoingState,
    ) -> Trained:
        total = np.zeros(training_numbers(self._recipe.parameters), np.uint64)

        async def train(member: Member) -> None:
            part = parts[member.id]
            with part.measured(member.client.link):
                await self._plain.hold(number, member, base)
            told = await self._exchange.train(number, member, part, base)
            _add(total, member.id, told)

        terms = Terms(self._need, self._members.timeouts.round_deadline)
        step = await take_step(self._members, chosen, train, terms, "training")
        return trained_from(total, self._recipe, number, base, step)

    async def measure(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        state: OutgoingState,
    ) -> Measured:
        try:
            evaluation, left_out = await self._measured(number, chosen, parts, state)
        except FedsmsError as error:  # the model is there, and has cost what it has
            self._members.notify("", f"its held-out figures are not there: {one_line(error)}")
            return Measured(NOT_MEASURED, {})
        return Measured(evaluation, left_out)

    async def evaluate(self, chosen: Sequence[Member], state: OutgoingState) -> Evaluation:
        parts = {member.id: NodePart(member.id) for member in chosen}
        return (await self._measured(0, chosen, parts, state))[0]

    async def _measured(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        state: OutgoingState,
    ) -> tuple[Evaluation, dict[str, str]]:
        total = np.zeros(EVALUATION_NUMBERS, np.uint64)

        async def evaluate(member: Member) -> None:
            told = await self._exchange.evaluate(
                number, member, parts[member.id], state, lambda: None
            )
            _add(total, member.id, told)

        terms = Terms(min(self._need, len(chosen)), deadline=0)
        step = await take_step(self._members, chosen, evaluate, terms, "evaluating")
        left_out = {
            node: f"not evaluated: {one_line(error)}" for node, error in step.left_out.items()
        }
        return evaluation_from(total, self._recipe, self._members.notify), left_out


def _add(total: Ring, node: str, data: bytes) -> None:
    """Adds a node's numbers. Raises NodeFailed where they are not as many as there must be."""
    if len(data) != total.nbytes:
        raise NodeFailed(f"node {node} sent numbers that are not {total.size:,}")
    total += np.frombuffer(data, "<u8")
