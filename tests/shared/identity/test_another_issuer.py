"""A certificate that other software made with the CA's key, as docs/kubernetes.md says it may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared.identity.certificates import certificate_from_pem, key_from_pem, to_pem
from shared.identity.folder import load
from tests.helpers.identities import make_federation


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_a_certificate_of_another_issuers_making_with_the_cas_key_is_taken(
    form: PrivateFormat, tmp_path: Path
) -> None:
    """As cert-manager fills one in: no subject, 90 days, a critical name where there is none."""
    ours = make_federation(tmp_path)
    ours.coordinator()
    folder = ours.node("bob")
    ca = certificate_from_pem((folder / "ca.pem").read_bytes())
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("fedsms:node:bob")])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    signs = x509.KeyUsage(True, *[False] * 8)
    made = (
        x509.CertificateBuilder(ca.subject, x509.Name([]), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=90))
        .add_extension(signs, critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ec_of(ca)), critical=False
        )
        .add_extension(name, critical=True)
        .sign(key_from_pem(ours.ca_key_path().read_bytes()), hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    (folder / "certificate.pem").write_bytes(to_pem(made))
    loaded = load(folder, "node")
    assert (str(loaded.name), loaded.certificate) == ("node bob", made)


def ec_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key
