"""The shares that survivors open, each known by its digest, and the secrets that they give back.

A share that is not the one its dealer sealed is its holder's fault, and is seen as it comes. Shares
that are all as sealed and give a secret that is not the announced one are their dealer's fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.key_agreement import PrivateKey
from shared.secure_aggregation.messages import Envelope, Opening, Proposal
from shared.secure_aggregation.roster import VerifiedRoster
from shared.secure_aggregation.sealed_shares import open_secret
from shared.secure_aggregation.violation import Violation


class OpenedShares:
    """Shares by dealer and holder.

    Args:
        roster: the sum's.
        proposal: whose seeds and whose keys are opened.
        envelopes: by dealer and holder, of all dealers.

    Attributes:
        faulty: whose secrets could not be opened, and why, by node id.
    """

    def __init__(
        self,
        roster: VerifiedRoster,
        proposal: Proposal,
        envelopes: Mapping[str, Mapping[str, Envelope]],
    ) -> None:
        self.faulty: dict[str, str] = {}
        self._roster = roster
        self._proposal = proposal
        self._digest = proposal.digest()
        self._envelopes = envelopes
        self._shares: dict[str, dict[int, bytes]] = {dealer: {} for dealer in envelopes}

    def take(self, opening: Opening) -> None:
        """A survivor's shares. Raises Violation; then none of them counts."""
        if opening.proposal != self._digest:
            raise Violation("one_set", "it opened another set")
        dealers = [dealer for dealer, _ in opening.shares]
        if dealers != sorted(set(dealers)) or not set(dealers) <= set(self._shares):
            raise Violation("shares", "it opened somebody twice, or who dealt nothing")
        for dealer, share in opening.shares:
            envelope = self._envelopes[dealer][opening.owner]
            is_in = dealer in self._proposal.survivors
            if digest(share) != (envelope.seed_hash if is_in else envelope.key_hash):
                raise Violation("shares", f"its share of {dealer} is not the one that was sealed")
        place = self._roster.place(opening.owner)
        for dealer, share in opening.shares:
            self._shares[dealer][place] = share

    @property
    def complete(self) -> bool:
        """True where enough shares of every dealer have come."""
        need = self._roster.threshold
        return all(len(shares) >= need for shares in self._shares.values())

    def secrets(self) -> tuple[dict[str, bytes], dict[str, PrivateKey]]:
        """Survivors' seeds and lost owners' keys, by id.

        Raises:
            Violation: somebody's cannot be opened; `faulty` says whose.
        """
        seeds, keys = {}, {}
        for dealer in self._shares:
            expected = self._roster.peers[dealer].keys
            if dealer in self._proposal.survivors:
                seeds[dealer] = self._open(dealer, digest, expected.seed_hash)
            else:
                raw = self._open(dealer, lambda key: PrivateKey(key).public, expected.mask_key)
                keys[dealer] = PrivateKey(raw)
        if self.faulty:
            why = "; ".join(f"{dealer}: {why}" for dealer, why in self.faulty.items())
            raise Violation("shares", f"what these dealt cannot be opened ({why})")
        return seeds, keys

    def _open(self, dealer: str, known_by: Callable[[bytes], bytes], expected: bytes) -> bytes:
        """A dealer's secret; of nobody, and a line in `faulty`, where it cannot be had."""
        need, shares = self._roster.threshold, sorted(self._shares[dealer].items())
        if len(shares) < need:
            self.faulty[dealer] = f"{len(shares)} shares of {need}"
            return bytes(32)
        # one choice of shares is enough where the dealer was honest; the others are for a false
        # one, whose few bad shares shall not cost the others their round
        for start in range(len(shares)):
            secret = open_secret(dict((shares + shares)[start : start + need]))
            if secret is not None and known_by(secret) == expected:
                return secret
        self.faulty[dealer] = "its shares are not of one secret"
        return bytes(32)
