"""Secure sums in one process: owners and a coordinator that hand each other real bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from server.secure_aggregation.aggregation import Aggregation
from shared.identity.folder import load
from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.kinds import Sum
from shared.secure_aggregation.messages import Context
from shared.secure_aggregation.trust import Signer, Trust
from tests.helpers.identities import Federation, make_federation
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory
from worker_node.secure_aggregation.owner import Owner
from worker_node.secure_aggregation.terms import Terms

SIZE = 7
OPEN_TERMS = Terms(fewest_owners=2, dropouts=1)
STEPS = ("keys", "share", "mask", "agree", "open")
"""What an owner does, in order; one that is lost at a step does not do it."""


@cache
def federation() -> Federation:
    """A federation for the whole of a test process."""
    return make_federation(Path(tempfile.mkdtemp(prefix="fedsms-")))


@cache
def signer(node_id: str) -> Signer:
    return Signer.of(load(federation().node(node_id), "node"))


@cache
def trust() -> Trust:
    return signer("bob").trust


def names(count: int) -> list[str]:
    return [f"o{number:02d}" for number in range(count)]


def context(
    run: str = "run-1",
    number: int = 1,
    which: Sum = "training",
    state: bytes = b"state",
    recipe: bytes = b"recipe",
    rounds: int = 9,
) -> Context:
    return Context(
        run=run,
        round=number,
        rounds=rounds,
        sum=which,
        state=sha256(state).digest(),
        recipe=sha256(recipe).digest(),
    )


def owner(
    node_id: str,
    what: Context | None = None,
    terms: Terms = OPEN_TERMS,
    rounds: RoundsInMemory | None = None,
) -> Owner:
    return Owner(signer(node_id), what or context(), terms, rounds or RoundsInMemory())


@dataclass
class SecureSum:
    """Everybody of one sum, and how far they are.

    lost: the step from which on an owner is silent, by id. done: steps that were taken.
    """

    owners: dict[str, Owner]
    coordinator: Aggregation
    vectors: dict[str, Ring]
    lost: Mapping[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def first(self, step: str) -> list[tuple[str, Owner]]:
        """Owners that do a step, the first time; nobody after that."""
        doing = [] if step in self.done else self.doing(step)
        self.done.add(step)
        return doing

    def doing(self, step: str) -> list[tuple[str, Owner]]:
        """Owners that still do a step."""
        return [
            (one, owner)
            for one, owner in self.owners.items()
            if one not in self.lost or STEPS.index(step) < STEPS.index(self.lost[one])
        ]

    def to_roster(self) -> bytes:
        for one, owner in self.first("keys"):
            self.coordinator.take_keys(one, owner.keys())
        return self.coordinator.make_roster()

    def to_delivery(self) -> None:
        roster = self.to_roster()
        for one, owner in self.first("share"):
            self.coordinator.take_dealt(one, owner.share(roster))
        for one, owner in self.doing("share"):
            owner.receive(self.coordinator.make_delivery(one))

    def to_proposal(self) -> bytes:
        self.to_delivery()
        for one, owner in self.first("mask"):
            self.coordinator.take_masked(one, owner.mask(self.vectors[one]))
        return self.coordinator.make_proposal()

    def to_agreement(self) -> bytes:
        proposal = self.to_proposal()
        for one, owner in self.first("agree"):
            self.coordinator.take_statement(one, owner.agree(proposal))
        return self.coordinator.make_agreement()

    def result(self) -> Ring:
        agreement = self.to_agreement()
        for one, owner in self.first("open"):
            self.coordinator.take_opening(one, owner.open(agreement))
        return self.coordinator.result()

    def survivors(self) -> list[str]:
        return [one for one, _ in self.doing("mask")]

    def plain(self) -> Ring:
        """The sum of the survivors' vectors, made without any of it."""
        return sum_of(self.vectors[one] for one in self.survivors())


def sum_of(vectors: Iterable[Ring]) -> Ring:
    total: Ring = np.sum(np.stack(list(vectors)), axis=0, dtype=np.uint64)
    return total


def secure_sum(
    ids: Collection[str],
    what: Context | None = None,
    *,
    lost: Mapping[str, str] | None = None,
    vectors: Mapping[str, Ring] | None = None,
    terms: Terms = OPEN_TERMS,
) -> SecureSum:
    """A sum that has not begun. Vectors that are not given are random, of SIZE numbers."""
    what = what or context()
    rng = np.random.default_rng(len(ids))
    given = dict(vectors or {one: rng.integers(0, 2**64, SIZE, np.uint64) for one in ids})
    size = next(iter(given.values())).size
    owners = {one: owner(one, what, terms) for one in ids}
    return SecureSum(owners, Aggregation(what, trust(), size), given, lost or {})
