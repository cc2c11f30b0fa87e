"""Certificates and lists of revoked ones as the product makes them, and with one part changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from server.authority.issuing import make_ca, make_certificate, make_crl
from shared.identity.certificates import Name, to_pem

BOB, HOSPITAL = Name("node", "bob"), Name("coordinator", "hospital")
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Ca:
    """A CA that signs whatever it is asked to."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def signs(self, name: Name, key: Any, **changes: Any) -> x509.Certificate:
        """A certificate; changes: other parts of it than an honest one has."""
        made = make_certificate(self.certificate, self.key, name, key, days=365)
        return resigned(made, self.key, **changes) if changes else made

    def revokes(self, *certificates: x509.Certificate, **changes: Any) -> bytes:
        """Its list of revoked certificates, in PEM."""
        told = [(one.serial_number, NOW - DAY) for one in certificates]
        number = changes.pop("number", len(told) + 1)
        crl = make_crl(self.certificate, self.key, told, number)
        if changes:
            builder = x509.CertificateRevocationListBuilder(
                issuer_name=crl.issuer, last_update=NOW - 3 * DAY, next_update=changes["until"]
            )
            crl = builder.sign(self.key, hashes.SHA256())
        return to_pem(crl)


def new_ca() -> Ca:
    key = ec.generate_private_key(ec.SECP256R1())
    return Ca(key, make_ca(key))


def resigned(good: x509.Certificate, by: Any, **changes: Any) -> x509.Certificate:
    """The same certificate with other dates, names or usages; None leaves an extension out."""
    builder = x509.CertificateBuilder(
        subject_name=good.subject,
        issuer_name=good.issuer,
        public_key=good.public_key(),
        serial_number=good.serial_number,
        not_valid_before=changes.get("since", good.not_valid_before_utc),
        not_valid_after=changes.get("until", good.not_valid_after_utc),
    )
    for one in good.extensions:
        value: Any = one.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = changes.get("alternative", value)
        elif isinstance(value, x509.ExtendedKeyUsage):
            value = changes.get("usage", value)
        if value is not None:
            builder = builder.add_extension(value, one.critical)
    return builder.sign(by, hashes.SHA256())


def uris(*texts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(text) for text in texts])
