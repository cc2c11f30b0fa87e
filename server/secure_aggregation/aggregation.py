"""The coordinator's part in one secure sum: a method for each step, and no socket.

    take_keys -> make_roster -> take_dealt -> make_delivery -> take_masked -> make_proposal
        -> take_statement -> make_agreement -> take_opening -> result

What is taken may come in any order and more than once; the first `make_` of a step ends taking for
it, and whoever has not come by then is lost from there on. What a node sends ends, at most, its
own part: it is looked at before anything of it counts. Masked vectors are added as they come, so
memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np

from server.secure_aggregation.dealt_shares import DealtShares, read_dealt
from server.secure_aggregation.opened_shares import OpenedShares
from shared.errors import NodeFailed, QuorumLost
from shared.secure_aggregation.canonical import MAX_OWNERS, digest
from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.key_agreement import PrivateKey
from shared.secure_aggregation.masks import add_mask, pair_mask_key, pair_sign, self_mask_key
from shared.secure_aggregation.messages import (
    Agreement,
    Context,
    Delivery,
    Masked,
    Opening,
    Proposal,
    Roster,
    Statement,
)
from shared.secure_aggregation.roster import Peer, VerifiedRoster, check_peers, read_keys
from shared.secure_aggregation.trust import Trust
from shared.secure_aggregation.violation import Violation

Clock = Callable[[], datetime]


class Aggregation:
    """One sum. Methods that take raise NodeFailed for a node's own fault; nothing of it counts.

    Methods that make raise QuorumLost where too few owners are left: then nobody learns anything.

    Args:
        context: what the sum is for.
        trust: whose keys count.
        size: numbers in a vector.
        measured: SHA-256 of the state that an evaluation measures; None for a training, and where
            it is not known yet: see `measured`.
        clock: the time that certificates are looked at with.

    Attributes:
        measured: as above; may be set until the first vector is taken.
        faulty: why a node's part failed in a way that is seen only in the end, by node id.
    """

    def __init__(
        self,
        context: Context,
        trust: Trust,
        size: int,
        measured: bytes | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.context = context
        self.measured = measured
        self.faulty: dict[str, str] = {}
        self._trust = trust
        self._size = size
        self._clock = clock
        self._peers: dict[str, Peer] = {}
        self._roster: VerifiedRoster | None = None
        self._roster_bytes = b""
        self._dealt: dict[str, DealtShares] = {}
        self._dealers: tuple[str, ...] = ()
        self._total: Ring = np.zeros(size, np.uint64)
        self._survivors: set[str] = set()
        self._proposal: Proposal | None = None
        self._statements: dict[str, bytes] = {}
        self._agreement = b""
        self._opened: OpenedShares | None = None
        self._result: Ring | None = None

    @property
    def max_masked_bytes(self) -> int:
        """Size of the largest Masked that can be one of this sum."""
        return Masked.max_bytes + 8 * self._size

    def take_keys(self, node: str, data: bytes) -> None:
        """A node's signed Keys."""
        with _fault_of(node):
            self._in_time(not self._roster)
            peer = read_keys(data, self.context, self._trust, self._clock())
            self._check_sender(node, peer.id)
            others = [other for other in self._peers.values() if other.id != node]
            taken = {key for other in others for key in _public(other)}
            if len(set(_public(peer)) | taken) != len(taken) + 2:
                raise Violation("fresh_keys", "one of its public keys is another's")
            if len(others) == MAX_OWNERS:
                raise Violation("most_owners", f"a sum has {MAX_OWNERS} owners at most")
            self._peers[node] = peer

    def make_roster(self) -> bytes:
        """The Roster of everybody whose keys have come.

        Keep its bytes until the round is done: a coordinator that begins again goes on with
        `restore_roster`, and owners that still know the round answer what they answered.
        """
        if not self._roster:
            peers = [self._peers[owner] for owner in sorted(self._peers)]
            if len(peers) < 2:
                raise self._lost(f"{len(peers)} owners sent keys, and 2 are needed")
            check_peers(peers)
            self._roster_bytes = Roster(keys=tuple(peer.signed for peer in peers)).pack()
            found = {peer.id: peer for peer in peers}
            self._roster = VerifiedRoster(self.context, found, digest(self._roster_bytes))
        return self._roster_bytes

    def restore_roster(self, data: bytes) -> None:
        """Begins with a roster that was made before.

        Raises:
            Violation: it is not one of this context.
        """
        self._roster = VerifiedRoster.read(data, self.context, self._trust, self._clock())
        self._roster_bytes = data

    @property
    def has_roster(self) -> bool:
        """Whether no keys are taken any more."""
        return self._roster is not None

    @property
    def threshold(self) -> int:
        """How many of the roster must take each step."""
        return self.roster.threshold

    def has_dealt(self, node: str) -> bool:
        """Whether a node's shares have come."""
        return node in self._dealt

    @property
    def dealers(self) -> tuple[str, ...]:
        """Who dealt shares, sorted; nobody else can be in the sum."""
        return self._dealers or tuple(sorted(self._dealt))

    @property
    def roster(self) -> VerifiedRoster:
        """Raises QuorumLost where there is none yet and none can be made."""
        self.make_roster()
        if self._roster is None:
            raise self._lost("it has no roster")
        return self._roster

    def take_dealt(self, node: str, data: bytes) -> None:
        """A node's shares for everybody of the roster."""
        roster = self.roster
        with _fault_of(node):
            self._in_time(not self._dealers)
            if node not in roster.peers:
                raise Violation("roster", "it is not of this sum")
            self._dealt[node] = read_dealt(data, node, roster)

    def make_delivery(self, node: str) -> bytes:
        """The Delivery of everybody's shares for a node of the roster."""
        if not self._dealers:
            self._need(len(self._dealt), "dealt shares")
            self._dealers = tuple(sorted(self._dealt))
        return Delivery(
            envelopes=tuple(self._dealt[dealer].delivered[node] for dealer in self._dealers)
        ).pack()

    @property
    def masking(self) -> bytes:
        """The digest that all masks must be bound to."""
        measured = self.context.state if self.measured is None else self.measured
        return self.roster.masking(self._dealers, measured)

    def take_masked(self, node: str, data: bytes) -> None:
        """Adds a node's masked vector; once, however often it comes."""
        with _fault_of(node):
            self._in_time(bool(self._dealers) and not self._proposal)
            if node not in self._dealers:
                raise Violation("shares", "it dealt no shares for this sum")
            found = Masked.unpack(data, self.max_masked_bytes)
            self._check_sender(node, found.owner)
            if found.masking != self.masking:
                raise Violation("masking", "its masks are of another round, roster or state")
            if len(found.numbers) != 8 * self._size:
                raise Violation("malformed", f"its vector is not one of {self._size:,} numbers")
            if node not in self._survivors:
                self._total += np.frombuffer(found.numbers, "<u8")
                self._survivors.add(node)

    def make_proposal(self) -> bytes:
        """The Proposal of the one set that is opened: everybody whose vector has come."""
        if not self._proposal:
            self._need(len(self._survivors), "sent a vector")
            survivors = tuple(sorted(self._survivors))
            lost = tuple(sorted(set(self._dealers) - self._survivors))
            self._proposal = Proposal(masking=self.masking, survivors=survivors, lost=lost)
            envelopes = {dealer: self._dealt[dealer].envelopes for dealer in self._dealers}
            self._opened = OpenedShares(self.roster, self._proposal, envelopes)
        return self._proposal.pack()

    def take_statement(self, node: str, data: bytes) -> None:
        """A survivor's signed Statement."""
        with _fault_of(node):
            self._in_time(bool(self._proposal) and not self._agreement)
            self._check_survivor(node)
            statement = Statement.signed_by(data, self.roster.peers[node].key, node)
            self._check_sender(node, statement.owner)
            if self._proposal is None or statement.proposal != self._proposal.digest():
                raise Violation("one_set", "it agreed to another set")
            self._statements[node] = data

    def make_agreement(self) -> bytes:
        """The Agreement of as many as must agree: everybody looks at each of them."""
        if not self._agreement:
            self._need(len(self._statements), "agreed on whom to open")
            enough = sorted(self._statements)[: self.roster.threshold]
            statements = tuple(self._statements[owner] for owner in enough)
            self._agreement = Agreement(statements=statements).pack()
        return self._agreement

    def take_opening(self, node: str, data: bytes) -> None:
        """A survivor's Opening."""
        with _fault_of(node):
            self._in_time(bool(self._agreement))
            self._check_survivor(node)
            found = Opening.unpack(data)
            self._check_sender(node, found.owner)
            if self._opened is not None:
                self._opened.take(found)

    @property
    def is_open(self) -> bool:
        """True where enough shares of everybody have come; more may still help against bad ones."""
        return self._opened is not None and self._opened.complete

    def result(self) -> Ring:
        """The sum (size,) modulo 2^64 of the survivors' vectors.

        Raises:
            QuorumLost: too few shares of somebody have come, or they are not of one secret; who
                dealt them stands in `faulty` then.
        """
        if self._result is None:
            if self._opened is None:
                raise self._lost("nobody has opened anything")
            try:
                seeds, keys = self._opened.secrets()
            except Violation as violation:
                self.faulty.update(self._opened.faulty)
                raise self._lost(violation.why) from None
            self._result = self._unmasked(seeds, keys)
        return self._result

    def _unmasked(self, seeds: dict[str, bytes], keys: dict[str, PrivateKey]) -> Ring:
        total, masking, peers = self._total, self.masking, self.roster.peers
        for owner, seed in seeds.items():
            add_mask(total, self_mask_key(seed, owner, masking), -1)
        for lost, private in keys.items():
            for owner in seeds:
                common = private.agree(peers[owner].keys.mask_key, owner)
                key = pair_mask_key(common, owner, lost, masking)
                add_mask(total, key, -pair_sign(owner, lost))
        return total

    def _in_time(self, open_now: bool) -> None:
        if not open_now:
            raise Violation("order", "it came too early or too late")

    def _check_survivor(self, node: str) -> None:
        if node not in self._survivors:
            raise Violation("survivors", "its vector is not in this sum")

    @staticmethod
    def _check_sender(node: str, owner: str) -> None:
        if owner != node:
            raise Violation("roster", "it speaks for somebody else")

    def _need(self, count: int, did: str) -> None:
        """Raises QuorumLost where fewer than the threshold did something."""
        if count < self.roster.threshold:
            raise self._lost(f"{count} owners {did}, and {self.roster.threshold} are needed")

    def _lost(self, why: str) -> QuorumLost:
        what = f"the secure {self.context.sum} sum of round {self.context.round} is lost"
        return QuorumLost(what, why, "Nobody learned anything of it.")


def _public(peer: Peer) -> tuple[bytes, bytes]:
    return peer.keys.mask_key, peer.keys.share_key


@contextmanager
def _fault_of(node: str) -> Iterator[None]:
    """Turns a Violation inside into the error of a node's own part."""
    try:
        yield
    except Violation as violation:
        fact = f"node {node} sent what a secure sum does not take (rule {violation.rule})"
        raise NodeFailed(fact, violation.why) from None
