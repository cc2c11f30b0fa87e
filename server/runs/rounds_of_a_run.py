"""The rounds of a run, as its settings ask for them: by training or by pointers, from its start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.aggregation.aggregators import MakeAggregator
from server.aggregation.server_optimizer import ServerOptimizer
from server.nodes.members import Members
from server.rounds.plan import Plan
from server.rounds.records import Observer, Proceed
from server.rounds.secure_sums import Secure
from server.runs.resume import StoppedRun
from server.runs.settings import RunSettings
from shared.model.classifier import initial_state
from shared.model.vectors import Vector


@dataclass(frozen=True)
class RoundsOfARun:
    """All that the rounds of a run work with.

    run: its id. stopped: the run that goes on; None for a new one.
    observers: told of each round.
    optimizer: the server's, with the moments that it goes on with.
    secure: how sums are made secure; None for plain ones.
    proceed: awaited after each round; None goes on at once.
    make: an aggregation rule in place of the recipe's; None for that.
    """

    settings: RunSettings
    members: Members
    run: str
    stopped: StoppedRun | None
    observers: Sequence[Observer]
    optimizer: ServerOptimizer
    secure: Secure | None
    proceed: Proceed | None
    make: MakeAggregator | None

    async def run_them(self) -> None:
        """All rounds that are not complete yet.

        Raises:
            FedsmsError: what went wrong.
        """
        # Before PySyft hooks torch: from then on every torch call of this process is slower.
        state = initial_state(self.settings.recipe, self.settings.seed)
        if self.settings.mode == "pointers":
            await self._with_pointers(state)
            return
        completed, stopped = 0, self.stopped
        if stopped is not None and stopped.state is not None:
            state, completed = stopped.state, stopped.completed
        if completed < self.settings.recipe.federation.rounds:
            await self._trained(state, completed)

    async def _with_pointers(self, state: Vector) -> None:
        from server.pointers.run import train_with_pointers

        await train_with_pointers(
            {one.id: one.link for one in self.members.present if one.link is not None},
            self.settings.recipe,
            self.settings.seed,
            state,
            self.observers,
            self.settings.replay,
            self.proceed,
        )

    async def _trained(self, state: Vector, completed: int) -> None:
        from server.rounds.coordinator import Coordinator

        settings, resumed = self.settings, self.stopped is not None
        plan = Plan(
            settings.seed,
            self.run,
            settings.quorum,
            settings.cohort,
            resumed,
            settings.evaluate_every,
        )
        coordinator = Coordinator(
            self.members,
            settings.recipe,
            plan,
            self.observers,
            self.make,
            self.secure,
            self.optimizer,
        )
        await coordinator.run(state, completed, self.proceed)
