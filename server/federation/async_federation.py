"""AsyncFederation: the same coordinator for whoever has an event loop."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.federation import background
from server.federation.federation import OnRound, Stop, is_enough
from server.federation.following import AsyncRounds, OnNotice, OnProgress
from server.federation.forgotten import OwnerForgotten
from server.federation.model import Model
from server.federation.preparation import Preparation, RecipeSource, Shown
from server.federation.results import Evaluation, Statuses, Worth
from server.federation.run import Run
from server.runs.setting import SecureWanted

if TYPE_CHECKING:  # it loads torch
    from server.passport.making import SignedPassport


class AsyncFederation(Preparation):
    """As Federation, whose methods say more; here they are coroutines, and safe to cancel."""

    async def status(self) -> Statuses:
        """Which nodes answer, and with what."""
        return await background.wait_in_a_loop(self._status())

    async def evaluate(self, model: Model | Run | str | Path | None = None) -> Evaluation:
        """Measures a model on the owners' held-out rows."""
        return await background.wait_in_a_loop(self._evaluate(model))

    async def compare(
        self, run: Run | str | Path | None = None, *, progress: Shown | None = None
    ) -> Worth:
        """Compares a run's model with what each owner has alone."""
        return await background.wait_in_a_loop(self._compare(run, progress))

    def rounds(
        self,
        recipe: RecipeSource | None = None,
        *,
        resume: Run | str | Path | None = None,
        progress: OnProgress | Shown | None = None,
        on_notice: OnNotice | None = None,
        **settings: Any,
    ) -> AsyncRounds:
        """Trains, a round at a time, for `async for`; must be called in a running event loop."""
        callback = progress if callable(progress) else None
        shown: Shown | None = None if callable(progress) else progress
        return AsyncRounds(
            lambda deliver, opened: self._pace(deliver, opened, recipe, resume, shown, settings),
            callback,
            on_notice,
        )

    async def train(
        self,
        recipe: RecipeSource | None = None,
        *,
        on_round: OnRound | None = None,
        stop: Stop | None = None,
        time_limit: float = 0,
        **others: Any,
    ) -> Run:
        """Trains to the end, or as far as it is told.

        Raises:
            CancelledError: from an Interrupted that says what was kept.
            FedsmsError: what went wrong; last_run has what was done.
        """
        began = time.monotonic()
        async with self.rounds(recipe, **others) as rounds:
            async for result in rounds:
                if is_enough(result, on_round, stop, time_limit, began):
                    break
        assert rounds.run is not None
        return rounds.run

    async def resume(self, run: Run | str | Path, **others: Any) -> Run:
        """Goes on with a stopped run to its end."""
        return await self.train(resume=run, **others)

    async def forget(
        self,
        owner: str,
        run: Run | str | Path,
        *,
        secure_aggregation: SecureWanted | None = None,
        progress: OnProgress | Shown | None = None,
        on_notice: OnNotice | None = None,
    ) -> OwnerForgotten:
        """Trains a run again without one of its owners, and compares; the old run stays."""
        plan = self._forgetting(owner, run, secure_aggregation)
        callback = progress if callable(progress) else None
        shown: Shown | None = None if callable(progress) else progress
        async with AsyncRounds(
            lambda deliver, opened: self._without(plan, shown, deliver, opened),
            callback,
            on_notice,
        ) as rounds:
            async for _ in rounds:
                pass
        return await background.wait_in_a_loop(self._forgotten(plan, rounds.run))

    async def passport(self, run: Run | str | Path | None = None) -> SignedPassport:
        """Writes a run's passport.json and model_card.md, with its nodes' countersignatures."""
        return await background.wait_in_a_loop(self._passport(run))
