"""Making a federation's CA, its certificates and its list of revoked ones (RFC 5280).

Pure functions of keys and names; server/authority/folder.py keeps what they make. Every certificate
is what OpenSSL accepts under X509_V_FLAG_X509_STRICT.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.identity.certificates import USAGES, Name

CA_DAYS = 3653
CLOCKS = timedelta(hours=1)
"""How far the clocks of two machines may differ before a new certificate is not valid yet."""

PublicKey = ec.EllipticCurvePublicKey
PrivateKey = ec.EllipticCurvePrivateKey


def make_ca(key: PrivateKey) -> x509.Certificate:
    """A CA of ten years, with a name of its own, so that no two federations' look the same."""
    common_name = f"fedsms federation {secrets.token_hex(4)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    until = _now() + timedelta(days=CA_DAYS)
    builder = _builder(name, name, key.public_key(), until)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    builder = builder.add_extension(_subject_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256())


def make_certificate(
    ca: x509.Certificate, ca_key: PrivateKey, name: Name, key: PublicKey, days: int
) -> x509.Certificate:
    """A node's or coordinator's certificate; it ends with the CA's own at the latest."""
    until = min(_now() + timedelta(days=days), ca.not_valid_after_utc)
    builder = _builder(name.subject, ca.subject, key, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_usage(digital_signature=True), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
    builder = builder.add_extension(name.alternative, critical=False)
    builder = builder.add_extension(_subject_key(key), critical=False)
    builder = builder.add_extension(_authority_key(ca), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def make_crl(
    ca: x509.Certificate, ca_key: PrivateKey, revoked: Iterable[tuple[int, datetime]], number: int
) -> x509.CertificateRevocationList:
    """The list of revoked certificates, by serial and moment.

    It says that the next one comes when the CA ends: sides that are not reached by a newer list
    go on working with the one that they have.

    Args:
        number: higher than that of every list before with other content.
    """
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject)
    builder = builder.last_update(_now() - CLOCKS).next_update(ca.not_valid_after_utc)
    for serial, moment in revoked:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment)
        builder = builder.add_revoked_certificate(one.build())
    builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    builder = builder.add_extension(_authority_key(ca), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _now() -> datetime:
    return datetime.now(UTC)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=_now() - CLOCKS,
        not_valid_after=until,
    )


def _usage(
    digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _subject_key(key: PublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _authority_key(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)
