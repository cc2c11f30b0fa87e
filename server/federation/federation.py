"""Federation: a coordinator for scripts, threads and notebooks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.federation import background
from server.federation.following import OnNotice, OnProgress, Rounds
from server.federation.forgotten import OwnerForgotten
from server.federation.model import Model
from server.federation.preparation import Preparation, RecipeSource, Shown
from server.federation.results import Evaluation, RoundResult, Statuses, Worth
from server.federation.run import Run
from server.runs.setting import SecureWanted

if TYPE_CHECKING:  # they load torch
    from server.passport.making import SignedPassport
    from server.passport.verification import Verified

OnRound = Callable[[RoundResult], object]
Stop = Callable[[RoundResult], bool]


class Federation(Preparation):
    """A federation, led from here. Preparation says what it is made from.

    Works in a script, a thread, and a cell of a notebook whose event loop is running; several may
    train at once in one process. It installs no signal handler, and prints nothing unless asked.
    AsyncFederation has the same methods as coroutines, for those who write some: a coroutine that
    waits here holds up its loop, and asyncio.run then lets the first Ctrl-C wait too.
    """

    def status(self) -> Statuses:
        """Which nodes answer, and with what; one that does not is no error.

        Raises:
            UsageError: there are no nodes, or one may not be dialled so.
        """
        return background.wait(self._status())

    def evaluate(self, model: Model | Run | str | Path | None = None) -> Evaluation:
        """Measures a model on the owners' held-out rows.

        Args:
            model: a model, a run, or a folder; None takes the last run's, or else the newest in
                run_dir.

        Raises:
            StorageError: there is no such model. FedsmsError: a node is not there, or failed.
        """
        return background.wait(self._evaluate(model))

    def compare(
        self, run: Run | str | Path | None = None, *, progress: Shown | None = None
    ) -> Worth:
        """Was it worth joining: compares a run's model with what each owner has alone.

        Each node trains alone, with the run's recipe and as many rounds, and measures both models
        on its own held-out rows; comparison.json in the run folder keeps what was found.

        Args:
            run: None takes the last run, or else the newest in run_dir.
            progress: "bars" or "json" shows it; None shows nothing.

        Raises:
            UsageError: it trained through pointers, or no round of it is complete.
            StorageError: there is no such run, or a coordinator is at work in it.
            FedsmsError: no node could do it; the error names one.
        """
        return background.wait(self._compare(run, progress))

    def rounds(
        self,
        recipe: RecipeSource | None = None,
        *,
        resume: Run | str | Path | None = None,
        progress: OnProgress | Shown | None = None,
        on_notice: OnNotice | None = None,
        **settings: Any,
    ) -> Rounds:
        """Trains, a round at a time: an iterator whose every step is a real round.

        Args:
            recipe: a name, a file, a Recipe, or its tables as a mapping; None is the federation's.
            resume: goes on with this run after its last completed round, with its own settings.
            progress: called with each node's progress, or "bars" (on a terminal; lines elsewhere)
                or "json"; None shows nothing.
            on_notice: called when nodes leave, come back, or are waited for.
            settings: of this run, by the names of `train`'s flags; `aggregation` may also be a
                class with `add` and `finish`, made for each round with the state that it begins
                with (server/aggregation/aggregators.py says what it must give).

        Raises:
            UsageError: a setting or the recipe is wrong; here, before anybody is dialled.
            FedsmsError: of the iterator, what the run ended with.
        """
        callback = progress if callable(progress) else None
        shown: Shown | None = None if callable(progress) else progress
        return Rounds(
            lambda deliver, opened: self._pace(deliver, opened, recipe, resume, shown, settings),
            callback,
            on_notice,
        )

    def train(
        self,
        recipe: RecipeSource | None = None,
        *,
        on_round: OnRound | None = None,
        stop: Stop | None = None,
        time_limit: float = 0,
        **others: Any,
    ) -> Run:
        """Trains to the end, or as far as it is told.

        Args:
            on_round: called with each round.
            stop: called with each round; True ends the run there. EarlyStopping is one.
            time_limit: seconds after which no round begins; 0 sets none.
            others: as `rounds` has them.

        Raises:
            KeyboardInterrupt: Ctrl-C; last_run has what was done, and can be resumed.
            FedsmsError: what went wrong; the same.
        """
        began = time.monotonic()
        with self.rounds(recipe, **others) as rounds:
            for result in rounds:
                if is_enough(result, on_round, stop, time_limit, began):
                    break
        assert rounds.run is not None
        return rounds.run

    def resume(self, run: Run | str | Path, **others: Any) -> Run:
        """Goes on with a stopped run to its end; raises as `train` does.

        Args:
            others: as `train` has them, and those settings that a resumed run may change.
        """
        return self.train(resume=run, **others)

    def forget(
        self,
        owner: str,
        run: Run | str | Path,
        *,
        secure_aggregation: SecureWanted | None = None,
        progress: OnProgress | Shown | None = None,
        on_notice: OnNotice | None = None,
    ) -> OwnerForgotten:
        """Trains a run again without one of its owners, and compares; the old run stays.

        The new run has the seed and settings of the old one, and is what that would have been
        without the owner, to the bit. Its folder gets a signed statement, and a passport.

        Args:
            secure_aggregation: None has secure sums where the old run had; with "off" two owners
                can go on that demand more for a sum.

        Raises:
            UsageError: the owner is not in the run, or it cannot be done again by its settings.
            FedsmsError: as `train`; then nothing is forgotten, and the whole is to be done again.
        """
        plan = self._forgetting(owner, run, secure_aggregation)
        callback = progress if callable(progress) else None
        shown: Shown | None = None if callable(progress) else progress
        with Rounds(
            lambda deliver, opened: self._without(plan, shown, deliver, opened),
            callback,
            on_notice,
        ) as rounds:
            for _ in rounds:
                pass
        return background.wait(self._forgotten(plan, rounds.run))

    def passport(self, run: Run | str | Path | None = None) -> SignedPassport:
        """Writes a run's passport.json and model_card.md, with its nodes' countersignatures.

        Args:
            run: None takes the last run, or else the newest in run_dir.

        Raises:
            StorageError: there is no such model. IdentityError: the identity is unfit.
        """
        return background.wait(self._passport(run))

    def verify(self, run: Run | str | Path, ca: str | Path | None = None) -> Verified:
        """Verifies a run's passport, and that an owner is out of it; dials nobody.

        Args:
            ca: the certificate of the CA that counts; None takes the identity's.

        Raises:
            NotProven: it is unsigned, or does not hold.
        """
        from server.passport.verification import verify

        path = run.path if isinstance(run, Run) else Path(run)
        return verify(path, self.configuration.identity, Path(ca) if ca is not None else None)


def is_enough(
    result: RoundResult,
    on_round: OnRound | None,
    stop: Stop | None,
    time_limit: float,
    began: float,
) -> bool:
    """True where a training has come far enough; tells `on_round` of the round before."""
    if on_round is not None:
        on_round(result)
    is_late = time_limit > 0 and time.monotonic() - began >= time_limit
    return (stop is not None and stop(result)) or is_late
