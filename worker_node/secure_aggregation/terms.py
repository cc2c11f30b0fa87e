"""The owner's terms for a sum: with whom, with how many, and how many of them may be lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from shared.secure_aggregation.roster import VerifiedRoster
from shared.secure_aggregation.violation import Violation


@dataclass(frozen=True)
class Terms:
    """What an owner asks of a roster and of the set that is opened.

    fewest_owners: of those whose sum may be opened, this one included; 2 or more. Of two, each
        can subtract itself, and the coordinator learns the sum of both.
    pinned: fingerprints of keys that the owner compared with other owners, by node id. A pinned
        id with another key is refused.
    fewest_pinned: how many of the pinned must be among those who are summed; 0 asks for none, and
        then whoever holds the CA can invent all the others.
    dropouts: share of a roster that may be lost, 0 to 1.

    Raises:
        ValueError: a number that is none of these.
    """

    fewest_owners: int = 3
    pinned: Mapping[str, str] = field(default_factory=dict)
    fewest_pinned: int = 0
    dropouts: float = 0.33

    def __post_init__(self) -> None:
        if self.fewest_owners < 2:
            raise ValueError("a sum of fewer than 2 owners hides nobody")
        if not 0 <= self.fewest_pinned <= len(self.pinned):
            raise ValueError("fewest_pinned is more than are pinned")
        if not 0 <= self.dropouts <= 1:
            raise ValueError("dropouts is a share, 0 to 1")

    def check_roster(self, roster: VerifiedRoster) -> None:
        """Raises Violation where the owner would not be summed with these."""
        for owner, fingerprint in self.pinned.items():
            peer = roster.peers.get(owner)
            if peer is not None and peer.fingerprint != fingerprint:
                raise Violation("pinned", f"{owner} has another key than the one pinned here")
        self.check_present(roster.peers, roster)

    def check_present(self, owners: Collection[str], roster: VerifiedRoster) -> None:
        """Raises Violation where too few of a roster would be summed."""
        if len(owners) < self.fewest_owners:
            why = f"{len(owners)} owners, and {self.fewest_owners} are the fewest here"
            raise Violation("fewest_owners", why)
        known = len(self.pinned.keys() & set(owners))
        if known < self.fewest_pinned:
            why = f"{known} pinned owners, and {self.fewest_pinned} are the fewest here"
            raise Violation("pinned", why)
        if len(owners) < roster.threshold:
            why = f"{len(owners)} of {len(roster.peers)} owners, and {roster.threshold} are needed"
            raise Violation("threshold", why)
        lost = len(roster.peers) - len(owners)
        if lost > self.dropouts * len(roster.peers):
            why = f"{lost} of {len(roster.peers)} owners are lost, more than a share of "
            raise Violation("dropouts", f"{why}{self.dropouts:g}")
