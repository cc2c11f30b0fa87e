"""The sums of one round, and what is kept of them for a coordinator that begins again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from server.secure_aggregation.aggregation import Aggregation
from shared.errors import FedsmsError, QuorumLost
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import (
    COMPARISON_NUMBERS,
    EVALUATION_NUMBERS,
    recipe_digest,
    state_digest,
    training_numbers,
)
from shared.secure_aggregation.kinds import Sum
from shared.secure_aggregation.messages import Context
from shared.secure_aggregation.trust import Trust
from shared.secure_aggregation.violation import Violation

if TYPE_CHECKING:  # it loads PySyft, which the start state is better drawn without
    from server.rounds.outgoing_state import OutgoingState

BOTH: tuple[Sum, ...] = ("training", "evaluation")
FEWEST_OWNERS = 3
"""Owners with whom a round begins, where so many are asked: what an owner's policy wants by default
(worker_node/guarding/policy.py)."""


class SumLost(QuorumLost):
    """A secure sum came to nothing; nobody learned anything of it, and the next round may begin."""

    @classmethod
    def of(cls, error: FedsmsError) -> Self:
        return cls(error.fact, error.cause, error.next_step)


class Rosters(Protocol):
    """Keeps the rosters of the last rounds that have begun, beyond the coordinator's end."""

    def keep(self, number: int, rosters: Mapping[Sum, bytes]) -> None:
        """Raises StorageError where they cannot be kept."""

    def kept(self, number: int) -> Mapping[Sum, bytes]:
        """A round's; empty where there are none."""


@dataclass(frozen=True)
class Secure:
    """What secure sums take.

    trust: reads whose keys count, for each round anew, so that who is revoked is out at once.
    rosters: where the rosters of rounds that go on are kept.
    """

    trust: Callable[[], Trust]
    rosters: Rosters


class NoRosters:
    """Keeps nothing: for sums of no run."""

    def keep(self, number: int, rosters: Mapping[Sum, bytes]) -> None:
        """Nobody will ask."""

    def kept(self, number: int) -> Mapping[Sum, bytes]:
        return {}


class RoundSums:
    """One round's sums.

    Args:
        number: of the round. state: id of the state that it begins with.
        sums: by kind.
        rosters: where their rosters are kept.
    """

    def __init__(
        self, number: int, state: int, sums: Mapping[Sum, Aggregation], rosters: Rosters
    ) -> None:
        self.number = number
        self.state = state
        self.kinds = tuple(sums)
        self._sums = sums
        self._rosters = rosters
        self._keyed: dict[Sum, set[str]] = {which: set() for which in sums}

    @classmethod
    def of(
        cls,
        number: int,
        run: str,
        recipe: Recipe,
        state: OutgoingState,
        secure: Secure,
        kinds: Sequence[Sum],
    ) -> Self:
        """Sums that nobody has sent anything for.

        Raises:
            IdentityError, StorageError: the coordinator's own identity cannot be read.
        """
        trust, digest = secure.trust(), state_digest(state.state)
        sizes: dict[Sum, int] = {
            "training": training_numbers(state.state.size),
            "evaluation": EVALUATION_NUMBERS,
            "comparison": COMPARISON_NUMBERS,
        }
        sums = {}
        for which in kinds:
            context = Context(
                run=run,
                round=number,
                rounds=recipe.federation.rounds,
                sum=which,
                state=digest,
                recipe=recipe_digest(recipe.to_json()),
            )
            sums[which] = Aggregation(context, trust, sizes[which])
        return cls(number, state.id, sums, secure.rosters)

    def __getitem__(self, which: Sum) -> Aggregation:
        return self._sums[which]

    def restore(self) -> None:
        """Goes on with the rosters that a coordinator before this one made for the round."""
        kept = self._rosters.kept(self.number)
        try:
            for which in self.kinds:
                if which in kept:  # that one may have measured other rounds than this one does
                    self._sums[which].restore_roster(kept[which])
        except Violation as violation:
            raise SumLost(
                f"round {self.number} cannot go on with the owners that it began with",
                violation.why,
            ) from None

    def take_keys(self, which: Sum, node: str, keys: bytes) -> None:
        """Raises NodeFailed for keys that cannot count; nothing of them does."""
        total = self._sums[which]
        if not total.has_roster:
            total.take_keys(node, keys)
        self._keyed[which].add(node)

    def without_keys_of(self, node: str) -> list[Sum]:
        """The sums for which a node's keys are missing."""
        return [which for which in self.kinds if node not in self._keyed[which]]

    def has_keys_of(self, nodes: Set[str]) -> bool:
        """Whether all of these have given all keys, and no roster is made yet."""
        return all(
            nodes <= self._keyed[which] and not total.has_roster
            for which, total in self._sums.items()
        )

    def make_rosters(self) -> None:
        """Ends taking keys, and keeps the rosters.

        Raises:
            QuorumLost: fewer than two gave keys. StorageError: they cannot be kept.
        """
        if all(total.has_roster for total in self._sums.values()):
            return
        made = {which: total.make_roster() for which, total in self._sums.items()}
        self._rosters.keep(self.number, made)

    @property
    def roster_ids(self) -> set[str]:
        """Who is in the rosters of all sums."""
        return set.intersection(*(set(total.roster.peers) for total in self._sums.values()))

    @property
    def threshold(self) -> int:
        """How many must take each step."""
        return max(total.threshold for total in self._sums.values())

    def without_shares_of(self, node: str) -> list[Sum]:
        """The sums for which a node's shares are missing."""
        return [which for which, total in self._sums.items() if not total.has_dealt(node)]
