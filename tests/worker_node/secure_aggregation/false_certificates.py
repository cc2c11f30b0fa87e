"""Certificates that should not count, and a list that revokes one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from shared.identity.certificates import Name, Role, key_from_pem, new_key
from shared.secure_aggregation.trust import Signer, Trust
from tests.helpers.secure_sums import federation, signer, trust


def ca_key() -> ec.EllipticCurvePrivateKey:
    return key_from_pem(federation().ca_key_path().read_bytes())


def false_certificate(node_id: str, by: str) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A key, and a certificate of it in DER that names an owner.

    Args:
        by: "coordinator": the federation's CA signed it, for a coordinator of that name;
            "stranger": it is a node's, and somebody else signed it in the CA's name.
    """
    key, now = new_key(), datetime.now(UTC)
    role: Role = "coordinator" if by == "coordinator" else "node"
    name = Name(role, node_id)
    builder = x509.CertificateBuilder(
        subject_name=name.subject,
        issuer_name=trust().ca.subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    ).add_extension(name.alternative, critical=False)
    issuer = ca_key() if by == "coordinator" else new_key()
    return key, builder.sign(issuer, hashes.SHA256()).public_bytes(Encoding.DER)


def revoking(node_id: str, revoked: str) -> Signer:
    """An owner whose list of revoked certificates holds another's."""
    now = datetime.now(UTC)
    serial = x509.load_der_x509_certificate(signer(revoked).certificate).serial_number
    entry = x509.RevokedCertificateBuilder(serial, now).build()
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(trust().ca.subject)
        .last_update(now)
        .next_update(now + timedelta(days=1))
        .add_revoked_certificate(entry)
        .sign(ca_key(), hashes.SHA256())
    )
    return replace(signer(node_id), trust=Trust(trust().ca, crl))


def another_ca() -> x509.Certificate:
    """A CA of the federation's name, with a key of its own."""
    key, now = new_key(), datetime.now(UTC)
    return (
        x509.CertificateBuilder(
            subject_name=trust().ca.subject,
            issuer_name=trust().ca.subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=1),
            not_valid_after=now + timedelta(days=1),
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
