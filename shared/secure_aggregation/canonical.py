"""Messages as bytes: one encoding for each value, read within bounds, and signed.

A message is a msgpack array: its kind, then its fields in order. What is read must encode to the
very bytes that were read, so a digest or signature of the bytes is one of the values.

A node signs with the key of its certificate (ECDSA with SHA-256). The same key signs TLS handshakes
and certificate requests, which begin otherwise: with 64 spaces (RFC 8446, 4.4.3) and as DER.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar, Self

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.secure_aggregation.violation import Violation

DOMAIN = b"fedsms secure aggregation 1\0"
MAX_OWNERS = 100
_MAX_SIGNATURE = 144  # of P-521 in DER
_SIGNED_ROOM = _MAX_SIGNATURE + 16

Digest = Annotated[bytes, Field(min_length=32, max_length=32)]


class Canonical(BaseModel):
    """A message; a subclass names its kind and its largest size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]
    max_bytes: ClassVar[int]

    def pack(self) -> bytes:
        values = (getattr(self, name) for name in type(self).model_fields)
        packed: bytes = msgpack.packb((self.kind, *values))
        return packed

    @classmethod
    def unpack(cls, data: bytes, at_most: int | None = None) -> Self:
        """The message in the bytes.

        Args:
            at_most: bytes of the largest; None for the kind's own bound.

        Raises:
            Violation: malformed, by name of what it should be; never with a value of it.
        """
        limit = cls.max_bytes if at_most is None else at_most
        fields = list(cls.model_fields)
        try:
            kind, *values = _read(data, limit)
            if kind != cls.kind:
                raise Violation("malformed", f"a message is no {cls.kind}")
            message = cls.model_validate(dict(zip(fields, values, strict=True)))
        except (ValidationError, TypeError, ValueError) as error:
            if isinstance(error, Violation):
                raise
            raise Violation("malformed", f"a message is no {cls.kind}") from None
        if message.pack() != data:
            raise Violation("malformed", f"a {cls.kind} is not encoded as it must be")
        return message

    def digest(self) -> bytes:
        """SHA-256 of the encoded message, 32 bytes."""
        return digest(self.pack())

    def sign(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The message with a signature of it; `signed_by` reads it."""
        body = self.pack()
        signature = key.sign(DOMAIN + body, ec.ECDSA(hashes.SHA256()))
        packed: bytes = msgpack.packb((body, signature))
        return packed

    @classmethod
    def read_signed(cls, data: bytes) -> tuple[Self, bytes, bytes]:
        """The message in signed bytes, its own bytes and the signature, which is not looked at.

        Raises:
            Violation: malformed.
        """
        try:
            body, signature = _read(data, cls.max_bytes + _SIGNED_ROOM)
        except (TypeError, ValueError):
            body = signature = None
        if not isinstance(body, bytes) or not isinstance(signature, bytes):
            raise Violation("malformed", f"a message is no signed {cls.kind}")
        if len(signature) > _MAX_SIGNATURE or msgpack.packb((body, signature)) != data:
            raise Violation("malformed", f"a signed {cls.kind} is not encoded as it must be")
        return cls.unpack(body), body, signature

    @classmethod
    def signed_by(cls, data: bytes, key: ec.EllipticCurvePublicKey, who: str) -> Self:
        """The message in bytes that `sign` made with the key of `who`. Raises Violation."""
        message, body, signature = cls.read_signed(data)
        verify(key, body, signature, f"the {cls.kind} of {who}")
        return message


def verify(key: ec.EllipticCurvePublicKey, body: bytes, signature: bytes, what: str) -> None:
    """Raises Violation where the key did not sign the body."""
    try:
        key.verify(signature, DOMAIN + body, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Violation("signature", f"{what} is not signed by its certificate's key") from None


def digest(*data: bytes | memoryview) -> bytes:
    """SHA-256 of bytes, one behind the other, 32 bytes. What a view holds is not copied."""
    found = hashlib.sha256(DOMAIN)
    for part in data:
        found.update(part)
    return found.digest()


def _read(data: bytes, limit: int) -> tuple[Any, ...]:
    """An array of msgpack, in which nothing is larger than the whole may be."""
    if len(data) > limit:
        raise Violation("malformed", f"a message has more than {limit:,} bytes")
    try:
        found = msgpack.unpackb(
            data,
            use_list=False,
            max_array_len=MAX_OWNERS + 1,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=256,
            max_bin_len=limit,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, tuple):
        raise TypeError
    return found
