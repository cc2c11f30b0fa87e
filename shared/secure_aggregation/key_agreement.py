"""Keys made for one sum, the secret that two owners have in common, and what is derived from it.

X25519 (RFC 7748) and HKDF with SHA-256 (RFC 5869). An owner has two keys in a sum and not one: a
lost owner's mask key is opened, and whoever has it could read every share that was sealed for it.
"""

from __future__ import annotations

import secrets

import msgpack
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.secure_aggregation.canonical import DOMAIN
from shared.secure_aggregation.violation import Violation

_FIELD = 2**255 - 19
_OF_ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, *_OF_ORDER_8})
"""Where the curve and its twist have points of order 1, 2, 4 and 8: whatever private key is
multiplied with them, 0 comes out (Bernstein, https://cr.yp.to/ecdh.html)."""


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
            raise _small_order(whose) from None


def check_order(public: bytes, whose: str) -> None:
    """Raises Violation for a public key of small order."""
    u = int.from_bytes(public, "little") % 2**255  # the top bit is not looked at (RFC 7748, 5)
    if u % _FIELD in _SMALL_ORDER:
        raise _small_order(whose)


def derive(secret: bytes, purpose: str, *bound_to: bytes | str) -> bytes:
    """A key of 32 bytes for one purpose, bound to everything that is named."""
    info = DOMAIN + msgpack.packb((purpose, *bound_to))
    return HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(secret)


def _small_order(whose: str) -> Violation:
    why = f"a public key of {whose} is of small order: everybody knows what it agrees on"
    return Violation("small_order", why)
