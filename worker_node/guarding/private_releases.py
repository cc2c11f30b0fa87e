"""Releases with noise: how much there must be, whether the budget has room, and what was told.

The node computes the noise itself, from the epsilon that the recipe asks for and the owners that
its own policy trusts. A recipe that asks for less noise asks for more epsilon, and so for more of
the budget; nothing else in it makes noise smaller.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from shared.errors import NodeFailed, PolicyRefused, StorageError
from shared.model.recipe import Recipe
from shared.privacy.accountant import mu_of
from worker_node.guarding.policy import refusal
from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
from worker_node.privacy.accounts import Accounts, Part, Run, Terms
from worker_node.privacy.ledger import BudgetRefused, Ledger

log = logging.getLogger("fedsms.node")

_Given = TypeVar("_Given")
_NEXT_STEP = {
    "epsilon": "A recipe with a smaller epsilon may fit, or ask the owner: python -m worker_node "
    "budget shows what is left.",
    "unit": "The owner sees what was told with: python -m worker_node budget; docs/privacy.md.",
    "run": "Begin a new run.",
    "one_release": "Begin a new run; it has a budget of its own to fit into.",
}


class Release(NamedTuple):
    """One release: of which run, which of its releases, and the digest of what decides it."""

    run: Run
    number: int
    inputs: str


@dataclass(frozen=True)
class Noise:
    """terms: what the run tells. multiplier: this node's noise, in sensitivities."""

    terms: Terms
    multiplier: float


class PrivateReleases:
    """One node's releases with noise.

    Args:
        terms: the owner's.
        ledger: None keeps one in memory.
    """

    def __init__(self, terms: DifferentialPrivacyTerms, ledger: Ledger | None = None) -> None:
        self._terms = terms
        self._ledger = ledger or Ledger()
        # one thread: a wait that is given up ends no write, and the next one comes after it
        self._thread = ThreadPoolExecutor(1, "privacy-ledger")
        self._turns: WeakValueDictionary[Run, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn_of(self, run: Run) -> AsyncIterator[None]:
        """From the look at what was told until it is told, a run's releases come one by one.

        Of two at once that find nothing told, each would be given noise of its own: for one charge
        a coordinator could ask for as many as it likes, and take their mean.
        """
        turn = self._turns.setdefault(run, asyncio.Lock())
        async with turn:
            yield

    async def look(self, at: Callable[[Accounts], _Given]) -> _Given:
        """What is found in the accounts, between two changes of them."""
        look = partial(at, self._ledger.accounts)
        return await asyncio.get_running_loop().run_in_executor(self._thread, look)

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def noise_of(self, recipe: Recipe, part: Part, is_secure: bool) -> Noise:
        """The noise of each release of a run.

        Args:
            is_secure: inside a secure sum, where others' noise counts too.
        """
        privacy = recipe.privacy
        training = part == "training"
        epsilon = privacy.epsilon if training else privacy.held_out_epsilon
        releases = recipe.federation.rounds if training else 1
        mu = mu_of(epsilon, privacy.delta)
        owners = self._terms.honest_owners + 1 if is_secure else 1
        digest = hashlib.sha256(recipe.to_json().encode()).hexdigest()
        terms = Terms(releases, digest, mu, mu * math.sqrt(owners), privacy.unit)
        return Noise(terms, math.sqrt(releases / owners) / mu)

    async def may_begin(self, who: str, run: str, recipe: Recipe, is_secure: bool) -> None:
        """Raises PolicyRefused where a run's training does not fit into what is left."""
        terms = self.noise_of(recipe, "training", is_secure).terms
        which = Run(who, run, "training")
        most, unit = self._most("training"), self._terms.unit
        await self._do("training", lambda: self._ledger.check(which, terms, most, unit))

    async def told(self, release: Release) -> bytes | None:
        """What was told before of a release, bit for bit; None where nothing was.

        Raises:
            PolicyRefused: another thing was told under its number, or what was is gone.
        """
        part = release.run.part
        return await self._do(part, lambda: self._ledger.told(*release))

    async def charge(self, release: Release, terms: Terms) -> None:
        """On disk before noise is drawn.

        Raises:
            PolicyRefused: it does not fit. NodeFailed: it cannot be noted.
        """
        part = release.run.part
        most, unit = self._most(part), self._terms.unit
        await self._do(part, lambda: self._ledger.charge(*release, terms, most, unit))

    async def answer(self, release: Release, data: bytes) -> None:
        """On disk before it leaves. Raises NodeFailed where it cannot be kept."""
        run, number, _ = release
        await self._do(run.part, lambda: self._ledger.answer(run, number, data))

    def _most(self, part: Part) -> float | None:
        terms = self._terms
        if not terms.is_on:
            return None
        epsilon = terms.epsilon if part == "training" else terms.held_out_epsilon
        return mu_of(epsilon, terms.delta)

    async def _do(self, part: Part, work: Callable[[], _Given]) -> _Given:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except BudgetRefused as error:
            raise self._refusal(part, error) from None
        except StorageError as error:
            log.warning("%s", error)
            raise NodeFailed("the node cannot keep its privacy ledger", "disk trouble") from None

    def _refusal(self, part: Part, error: BudgetRefused) -> PolicyRefused:
        rule, why = error.rule, error.why
        if rule == "epsilon":
            # what is left would tell what others had
            rule = "epsilon" if part == "training" else "held_out_epsilon"
            why = (
                f"{getattr(self._terms, rule):g} in total, and this does not fit into what is left"
            )
        return refusal(f"differential_privacy.{rule}", why, _NEXT_STEP[error.rule])
