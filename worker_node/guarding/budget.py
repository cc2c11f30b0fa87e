"""The privacy budget in figures: what is spent, of how much, and what each run was told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared.model.recipe import Unit
from shared.privacy.accountant import epsilon_of, mu_of
from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
from worker_node.privacy.accounts import Accounts, Part, Reservation, Run


@dataclass(frozen=True)
class Spent:
    """Of one part: epsilons of a unit; most and left are None where the owner sets no bound."""

    epsilon: float
    alone: float
    most: float | None
    left: float | None
    unit: Unit = "message"

    def in_words(self, delta: float) -> str:
        of = f" of {self.most:.2f}" if self.most is not None else ""
        others = (
            f", {self.alone:.2f} towards all others together" if self.alone > self.epsilon else ""
        )
        left = "; no bound is set"
        if self.left is not None:
            left = f"; a run of {self.left:.2f} still fits"
        if self.unit == "owner" and math.isinf(self.epsilon):
            return (
                f"what is spent{of} has no bound for an owner: runs below count each message for "
                "itself. A run of unit owner does not fit any more"
            )
        whose = " of you as an owner" if self.unit == "owner" else ""
        return f"epsilon {self.epsilon:.2f}{of} is spent at delta {delta:g}{whose}{others}{left}"


def spent(accounts: Accounts, part: Part, terms: DifferentialPrivacyTerms) -> Spent:
    """What was told, or may be, of the rows of a part, and what is left to tell."""
    mu, alone = accounts.spent(part, terms.unit)
    epsilon, others = epsilon_of(mu, terms.delta), epsilon_of(alone, terms.delta)
    if not terms.is_on:
        return Spent(epsilon, others, None, None, terms.unit)
    most = terms.epsilon if part == "training" else terms.held_out_epsilon
    left = math.sqrt(max(0.0, (mu_of(most, terms.delta) if most else 0.0) ** 2 - mu**2))
    return Spent(epsilon, others, most, epsilon_of(left, terms.delta), terms.unit)


@dataclass(frozen=True)
class Told:
    """What a run was told with noise.

    releases: that it may ask for. told: that it asked for. over: whether it asks for no more; until
    then all of its releases count. unit: of what the epsilons are.
    """

    coordinator: str
    run: str
    part: Part
    releases: int
    told: int
    over: bool
    epsilon: float
    epsilon_towards_all_others: float
    unit: Unit = "message"


def told_to(run: Run, found: Reservation, delta: float) -> Told:
    """Args: delta: at which its epsilons count."""
    share = math.sqrt(found.share)
    return Told(
        run.who,
        run.run,
        run.part,
        found.terms.releases,
        len(found.charged),
        found.closed,
        epsilon_of(found.terms.mu * share, delta),
        epsilon_of(found.terms.alone * share, delta),
        found.terms.unit,
    )
