"""The owners of one sum, whose keys were looked at one by one.

The coordinator reads keys as they come, so that an unfit one ends its sender's part alone; every
owner reads the whole roster again, and believes nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from shared.identity.certificates import key_fingerprint
from shared.secure_aggregation.canonical import MAX_OWNERS, digest, verify
from shared.secure_aggregation.key_agreement import check_order
from shared.secure_aggregation.messages import Context, Keys, Masking, Roster
from shared.secure_aggregation.trust import Trust
from shared.secure_aggregation.violation import Rule, Violation

_BOUND: tuple[Rule, ...] = ("run", "round", "rounds", "sum", "state", "recipe")


def threshold(owners: int) -> int:
    """How many of the roster must agree on a sum and open it: more than two thirds.

    Nobody proposes it. Two sets cannot both have so many signers, nor two openings so many shares,
    while at most a third of the owners helps the coordinator (Bonawitz et al. 2017, section 6.2).
    """
    return 2 * owners // 3 + 1


@dataclass(frozen=True)
class Peer:
    """An owner of the sum.

    key: its certificate's. signed: its Keys as they came.
    """

    keys: Keys
    key: ec.EllipticCurvePublicKey
    signed: bytes

    @property
    def id(self) -> str:
        return self.keys.owner

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate's key, `ab:cd:...`; a renewal does not change it."""
        return key_fingerprint(self.key)


def read_keys(signed: bytes, context: Context, trust: Trust, now: datetime) -> Peer:
    """An owner's signed Keys.

    Raises:
        Violation: they are malformed, for something else than the context, of somebody who cannot
            be believed, not signed by them, or of small order.
    """
    keys, body, signature = Keys.read_signed(signed)
    _check_context(keys, context)
    key = trust.node_key(keys.certificate, keys.owner, now)
    verify(key, body, signature, f"the keys of {keys.owner}")
    for public in (keys.mask_key, keys.share_key):
        check_order(public, keys.owner)
    return Peer(keys, key, signed)


def _check_context(keys: Keys, context: Context) -> None:
    if keys.context == context.pack():
        return
    found = Context.unpack(keys.context)
    for name in _BOUND:
        if getattr(found, name) != getattr(context, name):
            raise Violation(name, f"the keys of {keys.owner} are for another {name}")


class VerifiedRoster:
    """A roster of which every key was verified.

    Attributes:
        context: what the sum is for.
        peers: by node id, sorted.
        digest: of the Roster, 32 bytes.
        threshold: how many must agree and open.
    """

    def __init__(self, context: Context, peers: Mapping[str, Peer], roster_digest: bytes) -> None:
        self.context = context
        self.peers = peers
        self.digest = roster_digest
        self.threshold = threshold(len(peers))
        self._places = {owner: place for place, owner in enumerate(peers, 1)}

    @classmethod
    def read(cls, data: bytes, context: Context, trust: Trust, now: datetime) -> Self:
        """Raises Violation for a roster with an unfit key, or that is none."""
        found = [read_keys(signed, context, trust, now) for signed in Roster.unpack(data).keys]
        check_peers(found)
        return cls(context, {peer.id: peer for peer in found}, digest(data))

    def place(self, owner: str) -> int:
        """Where an owner's shares are evaluated, 1 to the number of owners."""
        return self._places[owner]

    def masking(self, dealers: tuple[str, ...], measured: bytes) -> bytes:
        """The digest that masks are bound to."""
        return Masking(roster=self.digest, dealers=dealers, measured=measured).digest()


def check_peers(peers: list[Peer]) -> None:
    """Raises Violation where peers, in their order, cannot be a roster."""
    ids = [peer.id for peer in peers]
    if ids != sorted(set(ids)):
        raise Violation("roster", "its owners are not sorted, or one stands in it twice")
    if not 2 <= len(ids) <= MAX_OWNERS:
        raise Violation("roster", f"it has {len(ids)} owners of 2 to {MAX_OWNERS}")
    keys = [key for peer in peers for key in (peer.keys.mask_key, peer.keys.share_key)]
    if len(set(keys)) != len(keys):
        raise Violation("fresh_keys", "one public key stands in it twice")
