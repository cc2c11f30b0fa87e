"""Whose signatures count: nodes that the federation's CA certified, and has not revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from shared.identity.certificates import CURVES, Name, is_issued_by, name_of
from shared.identity.folder import Identity, read_key
from shared.secure_aggregation.canonical import MAX_OWNERS
from shared.secure_aggregation.violation import Violation


@dataclass(frozen=True)
class Trust:
    """The federation's CA, and its list of revoked certificates."""

    ca: x509.Certificate
    crl: x509.CertificateRevocationList

    @classmethod
    def of(cls, identity: Identity) -> Self:
        return cls(identity.ca, identity.crl)

    def node_key(self, der: bytes, owner: str, now: datetime) -> ec.EllipticCurvePublicKey:
        """The key in an owner's certificate, which a peer sent.

        Args:
            owner: the node id that it must be for.

        Raises:
            Violation: it is no node's of the federation, another's, not valid now, or revoked.
        """
        whose = f"the certificate of {owner}"
        try:
            found = _read(der, self.ca)
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise Violation("certificate", f"{whose} is malformed, or names nobody") from None
        if not found.is_issued:
            raise Violation("certificate", f"{whose} was not signed by this federation's CA")
        if found.name != Name("node", owner):
            raise Violation("certificate", f"{whose} is that of {found.name}")
        if (
            not isinstance(found.key, ec.EllipticCurvePublicKey)
            or found.key.curve.name not in CURVES
        ):
            raise Violation("certificate", f"{whose} has a key of another kind")
        if not found.begins <= now <= found.ends:
            raise Violation("certificate", f"{whose} is not valid now")
        self._check_revoked(found.serial, whose, now)
        return found.key

    def _check_revoked(self, serial: int, whose: str, now: datetime) -> None:
        until = self.crl.next_update_utc
        if until is not None and until < now:
            raise Violation("revoked", "the list of revoked certificates has ended")
        if self.crl.get_revoked_certificate_by_serial_number(serial) is not None:
            raise Violation("revoked", f"{whose} is revoked")


@dataclass(frozen=True)
class _Read:
    """What a certificate says for as long as it exists: nothing of now, or of who is revoked."""

    name: Name
    key: object
    is_issued: bool
    begins: datetime
    ends: datetime
    serial: int


@lru_cache(maxsize=4 * MAX_OWNERS)  # the same ones stand in every roster of a run
def _read(der: bytes, ca: x509.Certificate) -> _Read:
    """Raises as its parser does."""
    certificate = x509.load_der_x509_certificate(der)
    return _Read(
        name_of(certificate),
        certificate.public_key(),
        is_issued_by(certificate, ca),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.serial_number,
    )


@dataclass(frozen=True)
class Signer:
    """An owner's node that can sign.

    certificate: DER.
    """

    id: str
    key: ec.EllipticCurvePrivateKey
    certificate: bytes
    trust: Trust

    @classmethod
    def of(cls, identity: Identity) -> Self:
        """Raises IdentityError and StorageError as reading a key does."""
        der = identity.certificate.public_bytes(Encoding.DER)
        return cls(identity.name.id, read_key(identity.folder), der, Trust.of(identity))
