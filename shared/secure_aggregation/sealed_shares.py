"""An owner's two secrets, cut into shares, each pair of shares sealed for the one who holds it.

Sealed with ChaCha20-Poly1305 (RFC 8439). The key is derived from a secret that dealer and holder
alone know, and from roster, dealer and holder: it seals one pair of shares, so its nonce is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.key_agreement import derive
from shared.secure_aggregation.messages import Envelope
from shared.secure_aggregation.shamir import PRIME, SHARE_BYTES, combine, split

_NONCE = bytes(12)


@dataclass(frozen=True)
class Shares:
    """One holder's shares of one dealer's seed and mask key, SHARE_BYTES each."""

    seed: bytes
    key: bytes


class UnreadableShares(ValueError):
    """What its dealer signed and sealed is not what the dealer says it is."""


def deal(seed: bytes, key: bytes, threshold: int, count: int) -> list[Shares]:
    """Shares of two secrets of 32 bytes, for holders 1 to `count`; any `threshold` open one."""
    seeds, keys = (split(int.from_bytes(secret, "big"), threshold, count) for secret in (seed, key))
    return [
        Shares(_to_bytes(one), _to_bytes(other)) for one, other in zip(seeds, keys, strict=True)
    ]


def open_secret(shares: Mapping[int, bytes]) -> bytes | None:
    """The secret of 32 bytes behind shares by holder's place, as many as the threshold.

    None where they are not of one secret; other wrong ones give a wrong secret.
    """
    number = combine({place: int.from_bytes(share, "big") for place, share in shares.items()})
    return number.to_bytes(32, "big") if number < 2**256 else None


def seal(shares: Shares, common: bytes, roster: bytes, dealer: str, holder: str) -> Envelope:
    """The shares in an envelope.

    Args:
        common: the secret that dealer and holder have in common.
        roster: the roster's digest.
    """
    cipher = ChaCha20Poly1305(derive(common, "shares", roster, dealer, holder))
    return Envelope(
        roster=roster,
        dealer=dealer,
        holder=holder,
        seed_hash=digest(shares.seed),
        key_hash=digest(shares.key),
        sealed=cipher.encrypt(_NONCE, shares.seed + shares.key, None),
    )


def unseal(envelope: Envelope, common: bytes) -> Shares:
    """The shares in an envelope.

    Raises:
        UnreadableShares: they were sealed for others, are malformed, or are not those of the
            envelope's digests.
    """
    key = derive(common, "shares", envelope.roster, envelope.dealer, envelope.holder)
    try:
        both = ChaCha20Poly1305(key).decrypt(_NONCE, envelope.sealed, None)
    except InvalidTag:
        raise UnreadableShares("they cannot be unsealed") from None
    shares = Shares(both[:SHARE_BYTES], both[SHARE_BYTES:])
    if digest(shares.seed) != envelope.seed_hash or digest(shares.key) != envelope.key_hash:
        raise UnreadableShares("they are not those of the envelope")
    numbers = int.from_bytes(shares.seed, "big"), int.from_bytes(shares.key, "big")
    if len(both) != 2 * SHARE_BYTES or max(numbers) >= PRIME:
        raise UnreadableShares("they are no numbers of the field")
    return shares


def _to_bytes(share: int) -> bytes:
    return share.to_bytes(SHARE_BYTES, "big")
