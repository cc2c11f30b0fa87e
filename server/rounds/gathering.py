"""What a round gets from its nodes, however it gets it: each owner's numbers, or a sum of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from server.aggregation.aggregators import Aggregate
from server.nodes.members import Member
from server.rounds.evaluation import Evaluation
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.step import StepResult


@dataclass(frozen=True)
class Trained:
    """What a round's trainings gave.

    step: who trained. aggregate: the next state, not checked.
    rows, loss: of all together, where no node's own are known; None where they are.
    """

    step: StepResult
    aggregate: Aggregate
    rows: int | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Measured:
    """What measuring a state gave. left_out: who is not in it, and why, by node id."""

    evaluation: Evaluation
    left_out: Mapping[str, str]


class Gathering(Protocol):
    """How a run's rounds get their numbers; server/rounds/plain_rounds.py and secure_rounds.py."""

    async def train(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        base: OutgoingState,
    ) -> Trained:
        """Trains from the state `base`.

        Args:
            parts: of the chosen, by node id.

        Raises:
            QuorumLost: too few nodes took part for too long. SumLost: this round comes to nothing.
            FedsmsError: too few nodes could do what was asked; the error names one.
        """

    async def measure(
        self,
        number: int,
        chosen: Sequence[Member],
        parts: Mapping[str, NodePart],
        state: OutgoingState,
    ) -> Measured:
        """Measures the next state, which the nodes then hold; raises as `train` does."""

    async def evaluate(self, chosen: Sequence[Member], state: OutgoingState) -> Evaluation:
        """Measures a state of no run; raises as `train` does."""
