"""Keys made for one sum, the secret that two owners have in common, and what is derived from it.

X25519 (RFC 7748) and HKDF with SHA-256 (RFC 5869).
"""

from __future__ import annotations

import secrets

import msgpack
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.secure_aggregation.canonical import DOMAIN
from shared.secure_aggregation.violation import Violation


class PrivateKey:
    """An X25519 key.

    Args:
        raw: its 32 bytes; None for a fresh one of the operating system's generator.
    """

    def __init__(self, raw: bytes | None = None) -> None:
        self.raw = secrets.token_bytes(32) if raw is None else raw
        self._key = X25519PrivateKey.from_private_bytes(self.raw)
        self.public = self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes, whose: str) -> bytes:
        """The 32 bytes that only the two holders of private keys know.

        Raises:
            Violation: the public key is of small order: everybody would know them (RFC 7748, 6.1).
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            why = f"a public key of {whose} is of small order: everybody knows what it agrees on"
            raise Violation("small_order", why) from None


def check_order(public: bytes, whose: str) -> None:
    """Raises Violation for a public key of small order."""
    PrivateKey().agree(public, whose)


def derive(secret: bytes, purpose: str, *bound_to: bytes | str) -> bytes:
    """A key of 32 bytes for one purpose, bound to everything that is named."""
    info = DOMAIN + msgpack.packb((purpose, *bound_to))
    return HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(secret)
