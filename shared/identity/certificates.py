"""Certificates as both sides read them: keys, requests, names, and one line that describes one.

A certificate of a federation (X.509 v3, RFC 5280) names its holder by a URI in subjectAltName,
`fedsms:node:bob` or `fedsms:coordinator:NAME`. The role stands there, and each side looks at it;
the extended key usage says nothing of it, since nodes and coordinators both may dial and listen.
Pure functions: no files and no sockets here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.identity.names import NODE_ID_PATTERN

Role = Literal["node", "coordinator"]
USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""What a certificate may be shown for: to whoever dials, and to whoever is dialled."""
CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""Curves that a key may have; ours have the first."""


class UnfitCertificate(ValueError):
    """Bytes that are no certificate, key or request of a federation; says which and why."""


# What cryptography raises for files that are not what they should be.
_UNREADABLE = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class Name:
    """Who a certificate is for."""

    role: Role
    id: str

    def __str__(self) -> str:
        return f"{self.role} {self.id}"

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.id)])

    @property
    def alternative(self) -> x509.SubjectAlternativeName:
        uri = f"fedsms:{self.role}:{self.id}"
        return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Unencrypted: a node starts without anybody who could type a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def key_from_pem(data: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises UnfitCertificate."""
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except Exception as error:  # UnsupportedAlgorithm, TypeError for an encrypted one, ...
        raise UnfitCertificate("it is not an unencrypted private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise UnfitCertificate("its key is not one of the curves P-256, P-384 and P-521")
    return key


def new_request(key: ec.EllipticCurvePrivateKey, name: Name) -> bytes:
    """A signing request in PEM (PKCS #10); holds the public key alone."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name.subject)
    request = builder.add_extension(name.alternative, critical=False).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def request_from_pem(data: bytes) -> tuple[Name, ec.EllipticCurvePublicKey]:
    """Who asks, and with which key. Whatever else the request asks for is passed over.

    Raises:
        UnfitCertificate: it is no request, its signature is wrong, or key or name are unfit.
    """
    try:
        request = x509.load_pem_x509_csr(data)
        extensions, valid = request.extensions, request.is_signature_valid
        key = request.public_key()
    except Exception as error:  # a stranger wrote it; the library has many words for "malformed"
        raise UnfitCertificate("it is not a signing request in PEM") from error
    if not valid:
        raise UnfitCertificate("its signature is wrong: who made it does not hold its key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        raise UnfitCertificate("its key is not one of the curves P-256, P-384 and P-521")
    return _name_in(extensions), key


def certificate_from_pem(data: bytes) -> x509.Certificate:
    """Raises UnfitCertificate."""
    found = certificates_from_pem(data)
    if len(found) != 1:
        raise UnfitCertificate(f"it holds {len(found)} certificates instead of one")
    return found[0]


def certificates_from_pem(data: bytes) -> list[x509.Certificate]:
    """All certificates in the order in which they stand. Raises UnfitCertificate."""
    try:
        return x509.load_pem_x509_certificates(data)
    except _UNREADABLE as error:
        raise UnfitCertificate("it holds no certificate in PEM") from error


def crl_number(crl: x509.CertificateRevocationList) -> int:
    """How new a list is among its CA's; 0 where it does not say."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def crl_from_pem(data: bytes) -> x509.CertificateRevocationList:
    """Raises UnfitCertificate."""
    try:
        return x509.load_pem_x509_crl(data)
    except _UNREADABLE as error:
        raise UnfitCertificate("it holds no list of revoked certificates in PEM") from error


def to_pem(made: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


def name_of(certificate: x509.Certificate) -> Name:
    """Raises UnfitCertificate where it names no node and no coordinator."""
    try:
        extensions = certificate.extensions
    except _UNREADABLE as error:
        raise UnfitCertificate("its extensions are malformed") from error
    return _name_in(extensions)


def _name_in(extensions: x509.Extensions) -> Name:
    try:
        alternative = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise UnfitCertificate("it names no node and no coordinator of fedsms") from None
    uris = alternative.get_values_for_type(x509.UniformResourceIdentifier)
    matched = [re.fullmatch(f"fedsms:(node|coordinator):({NODE_ID_PATTERN})", uri) for uri in uris]
    names = [Name(cast(Role, match[1]), match[2]) for match in matched if match]
    if len(names) != 1:
        raise UnfitCertificate("it names no node and no coordinator of fedsms, or several")
    return names[0]


def may_listen(certificate: x509.Certificate) -> bool:
    """True where whoever dials its holder takes it; not of a coordinator's of an older version."""
    return _is_for(certificate, ExtendedKeyUsageOID.SERVER_AUTH)


def may_dial(certificate: x509.Certificate) -> bool:
    """True where whom its holder dials takes it; not of a node's of an older version."""
    return _is_for(certificate, ExtendedKeyUsageOID.CLIENT_AUTH)


def _is_for(certificate: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return True
    except _UNREADABLE:
        return False
    return usage in found.value


def is_ca(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except _UNREADABLE:
        return False
    return found.value.ca


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """True where the CA's key signed the certificate; says nothing of dates."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def fits(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return key_fingerprint(key.public_key()) == key_fingerprint(certificate.public_key())


def key_fingerprint(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of a public key (its SubjectPublicKeyInfo), as `ab:cd:...`, 32 bytes."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex(":")


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate as `ab:cd:...`, 32 bytes."""
    return certificate.fingerprint(hashes.SHA256()).hex(":")


def federation_of(certificate: x509.Certificate) -> str:
    """The name of the CA that the certificate claims; of a CA, its own name."""
    return _common_name(certificate.issuer)


def day(moment: datetime) -> str:
    """`2027-11-22`, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def moment_in_words(moment: datetime) -> str:
    """`2027-11-22 18:05 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe(certificate: x509.Certificate) -> str:
    """One line: whose, of which federation, until when. Anybody's certificate may be given."""
    try:
        whose = str(name_of(certificate))
    except UnfitCertificate:
        whose = _common_name(certificate.subject)
    return (
        f"the certificate of {whose}, of {federation_of(certificate)}, "
        f"valid from {moment_in_words(certificate.not_valid_before_utc)} "
        f"until {moment_in_words(certificate.not_valid_after_utc)}, "
        f"fingerprint {fingerprint(certificate)[:23]}..."
    )


def _common_name(name: x509.Name) -> str:
    """What stands there as it can be shown on a terminal: a stranger may have chosen it."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(found[0].value) if found else "nobody"
    return "".join(c if c.isprintable() else "?" for c in text[:100])
