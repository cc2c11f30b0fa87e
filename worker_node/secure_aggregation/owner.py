"""One owner's part in one secure sum: a method for each message, and no socket.

    keys -> share -> receive -> mask -> agree -> open

The coordinator is believed in nothing. Every step is done once: the same message again has the
same answer, another one is refused, and a refusal leaves everything as it was.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.key_agreement import PrivateKey
from shared.secure_aggregation.masks import add_mask, pair_mask_key, pair_sign, self_mask_key
from shared.secure_aggregation.merkle import root_and_paths, root_from
from shared.secure_aggregation.messages import (
    Agreement,
    Context,
    Dealing,
    Dealt,
    Delivery,
    Envelope,
    Keys,
    Masked,
    Opening,
    Proposal,
    Statement,
)
from shared.secure_aggregation.roster import VerifiedRoster
from shared.secure_aggregation.sealed_shares import Shares, UnreadableShares, deal, seal, unseal
from shared.secure_aggregation.trust import Signer
from shared.secure_aggregation.violation import Violation
from worker_node.secure_aggregation.masked_rounds import MaskedRounds
from worker_node.secure_aggregation.refusing import refusing
from worker_node.secure_aggregation.terms import Terms

Clock = Callable[[], datetime]


class Owner:
    """An owner's state in one sum. Each method but `keys` raises PolicyRefused, by rule.

    Keep it for as long as the round may be asked for again: a new one for the same context has
    other keys, and may not mask.

    Args:
        signer: the node's certificate and key.
        context: what the sum is for, as the node itself knows it: the digests are of the state
            and recipe that it holds, never of what a coordinator says that they are.
        terms: the owner's.
        rounds: what was masked before.
        clock: the time that certificates are looked at with.
    """

    def __init__(
        self,
        signer: Signer,
        context: Context,
        terms: Terms,
        rounds: MaskedRounds,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self.id = signer.id
        self.context = context
        self._signer = signer
        self._terms = terms
        self._rounds = rounds
        self._clock = clock
        self._seed = secrets.token_bytes(32)
        self._mask_key, self._share_key = PrivateKey(), PrivateKey()
        self._keys = self._signed_keys()
        self._roster: VerifiedRoster | None = None
        self._dealt = b""
        self._delivery = b""
        self._common: dict[str, bytes] = {}
        self._held: dict[str, Shares] = {}
        self._dealers: tuple[str, ...] = ()
        self._masking = b""
        self._vector = b""
        self._masked = b""
        self._proposal: Proposal | None = None
        self._statement = b""
        self._opening = b""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Dealers whose shares for this owner are not what they signed; for the log."""
        return tuple(owner for owner in self._dealers if owner not in self._held)

    @property
    def has_masked(self) -> bool:
        """Whether the owner's numbers may have left."""
        return bool(self._masked)

    @property
    def knows_dealers(self) -> bool:
        """Whether the shares of those have come with whom the owner masks."""
        return bool(self._delivery)

    def keys(self) -> bytes:
        """The owner's signed Keys."""
        return self._keys

    def share(self, roster: bytes) -> bytes:
        """Looks at everybody of a Roster, and deals shares of the owner's two secrets: Dealt."""
        with refusing():
            if self._roster is not None:
                if digest(roster) != self._roster.digest:
                    raise Violation("one_roster", "this sum has another roster already")
                return self._dealt
            found = VerifiedRoster.read(roster, self.context, self._signer.trust, self._clock())
            own = found.peers.get(self.id)
            if own is None or own.signed != self._keys:
                raise Violation("own_keys", "this owner's keys do not stand in the roster")
            self._terms.check_roster(found)
            self._dealt = self._deal(found)
            self._roster = found
            return self._dealt

    def receive(self, delivery: bytes) -> None:
        """Takes the shares that others dealt, in a Delivery; whose they are, masks run between.

        A seal that holds is proof enough of who dealt: nobody but dealer and holder can make it.
        Where one does not hold, the dealer's signature says whose fault that is. If just this was
        signed it costs the dealer this holder's help, and is no refusal: see `unreadable`.
        """
        with refusing():
            roster = self._known_roster()
            if self._delivery:
                if digest(delivery) != self._delivery:
                    raise Violation("one_delivery", "this sum has other dealers already")
                return
            found = [
                (self._envelope(proof[0], roster), proof)
                for proof in Delivery.unpack(delivery).envelopes
            ]
            dealers = tuple(envelope.dealer for envelope, _ in found)
            if list(dealers) != sorted(set(dealers)) or self.id not in dealers:
                raise Violation("shares", "dealers are not sorted, stand twice, or lack this owner")
            self._terms.check_present(dealers, roster)
            held = {}
            for envelope, proof in found:
                try:
                    held[envelope.dealer] = unseal(envelope, self._common[envelope.dealer])
                except UnreadableShares:
                    self._check_dealing(envelope.dealer, proof, roster)
            self._held = held
            self._dealers, self._delivery = dealers, digest(delivery)
            self._common = {}  # both directions are sealed and read

    def mask(self, numbers: Ring, measured: bytes | None = None) -> bytes:
        """The vector below its masks: Masked. Noted on disk before it is given.

        Args:
            numbers: (N,), which is not changed.
            measured: SHA-256 of the state that an evaluation measured; None for a training.

        Raises:
            StorageError: it cannot be noted.
        """
        with refusing():
            roster = self._known_roster()
            if not self._delivery:
                raise Violation("order", "nobody's shares have come")
            subject = self._subject(measured)
            vector = digest(subject, np.ascontiguousarray(numbers, "<u8").data)
            if self._masked:
                if vector != self._vector:
                    raise Violation("one_vector", "this sum has another vector of this owner's")
                return self._masked
            self._rounds.claim(self.context)
            self._masking = roster.masking(self._dealers, subject)
            hidden = self._hide(numbers, roster)
            self._masked = Masked(masking=self._masking, owner=self.id, numbers=hidden).pack()
            self._vector = vector
            return self._masked

    def agree(self, proposal: bytes) -> bytes:
        """Looks at whose vectors a Proposal would open together: a signed Statement, of one set."""
        with refusing():
            roster = self._known_roster()
            if not self._masked:
                raise Violation("order", "this owner has masked nothing yet")
            found = Proposal.unpack(proposal)
            self._check_sets(found)
            if self._proposal is not None:
                if found != self._proposal:
                    raise Violation("one_set", "this sum has another set of survivors already")
                return self._statement
            self._terms.check_present(found.survivors, roster)
            statement = Statement(proposal=found.digest(), owner=self.id)
            self._statement = statement.sign(self._signer.key)
            self._proposal = found
            return self._statement

    def open(self, agreement: bytes) -> bytes:
        """Once enough survivors signed the same set: a share for each dealer, an Opening.

        Of each dealer it is either the one or the other: of a survivor's seed, of a lost one's
        key. Secrets are forgotten with the first answer.
        """
        with refusing():
            roster, proposal = self._known_roster(), self._proposal
            if proposal is None:
                raise Violation("order", "this owner has agreed to no set of survivors")
            self._check_agreement(agreement, roster, proposal)
            if not self._opening:
                chosen = tuple(
                    (owner, shares.seed if owner in proposal.survivors else shares.key)
                    for owner, shares in self._held.items()
                )
                opening = Opening(proposal=proposal.digest(), owner=self.id, shares=chosen)
                self._opening = opening.pack()
                self._held = dict.fromkeys(self._held, _GONE)
                self._seed, self._mask_key, self._share_key = b"", PrivateKey(), PrivateKey()
            return self._opening

    def _signed_keys(self) -> bytes:
        keys = Keys(
            context=self.context.pack(),
            owner=self.id,
            certificate=self._signer.certificate,
            mask_key=self._mask_key.public,
            share_key=self._share_key.public,
            seed_hash=digest(self._seed),
        )
        return keys.sign(self._signer.key)

    def _known_roster(self) -> VerifiedRoster:
        if self._roster is None:
            raise Violation("order", "this sum has no roster yet")
        return self._roster

    def _deal(self, roster: VerifiedRoster) -> bytes:
        cut = deal(self._seed, self._mask_key.raw, roster.threshold, len(roster.peers))
        sealed = []
        for (holder, peer), shares in zip(roster.peers.items(), cut, strict=True):
            common = self._share_key.agree(peer.keys.share_key, holder)
            self._common[holder] = common
            envelope = seal(shares, common, roster.digest, self.id, holder)
            sealed.append(envelope.pack())
        root, _ = root_and_paths(sealed)
        dealing = Dealing(roster=roster.digest, dealer=self.id, root=root)
        return Dealt(envelopes=tuple(sealed), dealing=dealing.sign(self._signer.key)).pack()

    def _envelope(self, data: bytes, roster: VerifiedRoster) -> Envelope:
        envelope = Envelope.unpack(data)
        dealer = envelope.dealer
        if dealer not in roster.peers:
            raise Violation("shares", "somebody who is not of this roster dealt shares")
        if envelope.roster != roster.digest:
            raise Violation("shares", f"the shares of {dealer} are of another round or roster")
        if envelope.holder != self.id:
            raise Violation("shares", f"the shares of {dealer} are for another owner")
        return envelope

    def _check_dealing(
        self, dealer: str, proof: tuple[bytes, bytes, bytes], roster: VerifiedRoster
    ) -> None:
        """Raises Violation unless an envelope for this owner is what its dealer signed."""
        data, path, dealing = proof
        signed = Dealing.signed_by(dealing, roster.peers[dealer].key, dealer)
        root = root_from(data, roster.place(self.id) - 1, len(roster.peers), path)
        if (signed.roster, signed.dealer, signed.root) != (roster.digest, dealer, root):
            raise Violation("signature", f"the shares of {dealer} are not those that it signed")

    def _subject(self, measured: bytes | None) -> bytes:
        if self.context.sum != "evaluation" and measured not in (None, self.context.state):
            what = f"a {self.context.sum} is of the state that its round begins with"
            raise Violation("state", what)
        return self.context.state if measured is None else measured

    def _hide(self, numbers: Ring, roster: VerifiedRoster) -> bytes:
        masked = np.array(numbers, np.uint64)
        add_mask(masked, self_mask_key(self._seed, self.id, self._masking), 1)
        for other in self._dealers:
            if other != self.id:
                common = self._mask_key.agree(roster.peers[other].keys.mask_key, other)
                key = pair_mask_key(common, self.id, other, self._masking)
                add_mask(masked, key, pair_sign(self.id, other))
        return masked.astype("<u8", copy=False).tobytes()

    def _check_sets(self, proposal: Proposal) -> None:
        survivors, lost = set(proposal.survivors), set(proposal.lost)
        if survivors & lost:
            raise Violation("survivor_and_lost", "an owner is listed as a survivor and as lost")
        if proposal.masking != self._masking:
            raise Violation("masking", "others masked under another roster, dealers or state")
        if survivors | lost != set(self._dealers) or self.id not in survivors:
            raise Violation("survivors", "survivors and lost are not all dealers, this owner in it")

    def _check_agreement(self, data: bytes, roster: VerifiedRoster, proposal: Proposal) -> None:
        signers = []
        for signed in Agreement.unpack(data).statements:
            owner = Statement.read_signed(signed)[0].owner
            if owner not in proposal.survivors:
                raise Violation("agreement", "somebody who is no survivor agreed")
            statement = Statement.signed_by(signed, roster.peers[owner].key, owner)
            if statement.proposal != proposal.digest():
                raise Violation("one_set", f"{owner} agreed to another set of survivors")
            signers.append(owner)
        if signers != sorted(set(signers)):
            raise Violation("agreement", "statements are not sorted, or one stands twice")
        if len(signers) < roster.threshold:
            why = f"{len(signers)} owners agreed to this set, and {roster.threshold} are needed"
            raise Violation("agreement", why)


_GONE = Shares(b"", b"")
