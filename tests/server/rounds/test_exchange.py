"""What the coordinator notes of a node, when the connection is lost in between."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from server.nodes.client import NodeClient
from server.nodes.link import Link
from server.nodes.members import Member
from server.rounds.exchange import Exchange
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.wire.commands import EvaluateReport

REPORT = EvaluateReport(
    ham={7: 3}, spam={2000: 2}, loss_sum=1.0, seconds_evaluating=0.0, seconds_waiting=0.0
)


class Line:
    """What is counted of a connection."""

    bytes_sent = 0
    bytes_received = 0


class Losing:
    """A node that answers all, and whose connection is another by the time of its answer."""

    def __init__(self, member: Member, replaced: bool) -> None:
        self.link = member.link
        self._member = member
        self._replaced = replaced

    async def propose(self, command: Any) -> None:
        """Would do it."""

    async def send_state(self, packed: bytes) -> None:
        """Takes it."""

    async def forget(self, object_id: int) -> None:
        """Forgets it."""

    async def evaluate(self, command: Any, on_progress: Any) -> EvaluateReport:
        if self._replaced:
            self._member.link = cast(Link, Line())
            self._member.holds.clear()
        return REPORT


@pytest.mark.parametrize("replaced", [False, True])
def test_a_node_over_a_new_connection_holds_nothing_that_came_over_the_old_one(
    recipe: Recipe, replaced: bool
) -> None:
    async def session() -> tuple[set[int], int]:
        member = Member("anne", None)
        member.link = cast(Link, Line())
        member._client = cast(NodeClient, Losing(member, replaced))
        state = OutgoingState(initial_state(recipe, 1))
        exchange = Exchange(recipe, Plan(1, "a-test"), lambda *_: None)
        await exchange.evaluate(1, member, NodePart("anne"), state)
        return member.holds, state.id

    holds, state_id = asyncio.run(session())
    assert holds == (set() if replaced else {state_id})
