"""Whose signatures count: nodes that the federation's CA certified, and has not revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from shared.identity.certificates import CURVES, Name, is_issued_by, name_of
from shared.identity.folder import Identity, read_key
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
            certificate = x509.load_der_x509_certificate(der)
            name, key = name_of(certificate), certificate.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise Violation("certificate", f"{whose} is malformed, or names nobody") from None
        if not is_issued_by(certificate, self.ca):
            raise Violation("certificate", f"{whose} was not signed by this federation's CA")
        if name != Name("node", owner):
            raise Violation("certificate", f"{whose} is that of {name}")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
            raise Violation("certificate", f"{whose} has a key of another kind")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise Violation("certificate", f"{whose} is not valid now")
        self._check_revoked(certificate, whose, now)
        return key

    def _check_revoked(self, certificate: x509.Certificate, whose: str, now: datetime) -> None:
        until = self.crl.next_update_utc
        if until is not None and until < now:
            raise Violation("revoked", "the list of revoked certificates has ended")
        number = certificate.serial_number
        if self.crl.get_revoked_certificate_by_serial_number(number) is not None:
            raise Violation("revoked", f"{whose} is revoked")


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
