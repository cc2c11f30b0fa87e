"""What certificates, requests and keys say, and what a CA makes; checked with OpenSSL."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.authority.issuing import make_certificate
from shared.identity.certificates import (
    Name,
    UnfitCertificate,
    certificate_from_pem,
    fingerprint,
    fits,
    is_ca,
    is_issued_by,
    key_fingerprint,
    key_from_pem,
    name_of,
    new_request,
    request_from_pem,
    to_pem,
)
from tests.helpers.answers import CA, HOSPITALS, KEY, OTHER
from tests.helpers.made_certificates import BOB, DAY, HOSPITAL, NOW, resigned, uris


@pytest.mark.parametrize(
    ("alternative", "name"),
    [
        (uris("fedsms:node:bob"), BOB),
        (uris("fedsms:coordinator:hospital"), HOSPITAL),
        (uris("https://example.org", "fedsms:node:bob"), BOB),
        (uris("fedsms:node:bob", "fedsms:node:anne"), None),
        (uris("fedsms:node:bob", "fedsms:coordinator:bob"), None),
        (uris("fedsms:owner:bob"), None),
        (uris("fedsms:node:"), None),
        (uris("xfedsms:node:bob"), None),
        (uris("fedsms:node:bob/anne"), None),
        (uris("fedsms:node:" + "b" * 65), None),
        (x509.SubjectAlternativeName([x509.DNSName("fedsms:node:bob")]), None),
        (None, None),
    ],
)
def test_a_certificate_names_one_node_or_coordinator_or_nobody(
    alternative: x509.SubjectAlternativeName | None, name: Name | None
) -> None:
    made = CA.signs(BOB, KEY.public_key(), alternative=alternative)
    if name is not None:
        assert name_of(made) == name
        return
    with pytest.raises(UnfitCertificate):
        name_of(made)


def test_a_request_is_taken_from_who_holds_its_key_alone() -> None:
    request = new_request(KEY, BOB)
    name, key = request_from_pem(request)
    assert (name, key_fingerprint(key)) == (BOB, key_fingerprint(KEY.public_key()))
    der = bytearray(x509.load_pem_x509_csr(request).public_bytes(serialization.Encoding.DER))
    place = der.index(b"fedsms:node:bob") + len("fedsms:node:")
    der[place : place + 3] = b"eve"
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(UnfitCertificate, match="its signature is wrong"):
        request_from_pem(forged)


def pem_of(key: Any, password: bytes | None = None) -> bytes:
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    found: bytes = key.private_bytes(*kinds, encryption)
    return found


@pytest.mark.parametrize(
    ("curve", "is_taken"),
    [
        (ec.SECP256R1(), True),
        (ec.SECP384R1(), True),
        (ec.SECP521R1(), True),
        (ec.SECP256K1(), False),
        (ec.SECP224R1(), False),
        (None, False),
    ],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_keys_are_of_three_curves_in_files_and_in_requests(
    curve: ec.EllipticCurve | None, is_taken: bool
) -> None:
    key: Any = ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)
    request = new_request(key, BOB)
    if is_taken:
        assert key_fingerprint(key_from_pem(pem_of(key)).public_key()) == (
            key_fingerprint(key.public_key())
        )
        assert request_from_pem(request)[0] == BOB
        return
    for take, data in ((key_from_pem, pem_of(key)), (request_from_pem, request)):
        with pytest.raises(UnfitCertificate, match="not one of the curves"):
            take(data)


def test_an_encrypted_key_is_refused() -> None:
    with pytest.raises(UnfitCertificate, match="not an unencrypted private key"):
        key_from_pem(pem_of(KEY, password=b"secret"))


def test_one_certificate_is_read_where_one_is_wanted() -> None:
    one = to_pem(HOSPITALS)
    assert certificate_from_pem(one) == HOSPITALS
    with pytest.raises(UnfitCertificate, match="2 certificates"):
        certificate_from_pem(one + one)
    with pytest.raises(UnfitCertificate, match="no certificate in PEM"):
        certificate_from_pem(b"")


def test_who_signed_a_certificate_and_whose_key_it_has() -> None:
    assert is_issued_by(HOSPITALS, CA.certificate)
    assert not is_issued_by(HOSPITALS, OTHER.certificate)
    # signed with another key, and says that it was this CA's
    assert not is_issued_by(resigned(HOSPITALS, OTHER.key), CA.certificate)
    assert fits(KEY, HOSPITALS)
    assert not fits(CA.key, HOSPITALS)
    assert is_ca(CA.certificate)
    assert not is_ca(HOSPITALS)


def openssl(*arguments: str, data: bytes) -> str:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True)
    return done.stdout.decode()


def test_fingerprints_are_what_openssl_says() -> None:
    told = openssl("x509", "-noout", "-fingerprint", "-sha256", data=to_pem(HOSPITALS))
    assert told.partition("=")[2].strip().lower() == fingerprint(HOSPITALS)
    public = KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = openssl("dgst", "-sha256", "-r", data=public).split()[0]
    assert key_fingerprint(KEY.public_key()).replace(":", "") == digest


# What a CA makes


@pytest.mark.parametrize("name", [BOB, HOSPITAL], ids=str)
def test_a_certificate_serves_and_dials_and_signs_no_other(name: Name) -> None:
    made = CA.signs(name, KEY.public_key())
    extensions = made.extensions
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert name_of(made) == name
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.value.ca, basic.critical) == (False, True)
    uses = extensions.get_extension_for_class(x509.KeyUsage)
    assert (uses.value.digital_signature, uses.value.key_cert_sign, uses.value.crl_sign) == (
        True,
        False,
        False,
    )
    assert uses.critical
    assert abs(made.not_valid_after_utc - NOW - 365 * DAY) < DAY
    assert NOW - timedelta(hours=2) < made.not_valid_before_utc < NOW


def test_a_ca_signs_certificates_and_lists_and_no_further_ca() -> None:
    extensions = CA.certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.value.ca, basic.value.path_length, basic.critical) == (True, 0, True)
    uses = extensions.get_extension_for_class(x509.KeyUsage)
    assert (uses.value.key_cert_sign, uses.value.crl_sign, uses.value.digital_signature) == (
        True,
        True,
        False,
    )
    assert uses.critical
    assert abs(CA.certificate.not_valid_after_utc - NOW - 3653 * DAY) < DAY
    assert CA.certificate.subject != OTHER.certificate.subject


def test_no_certificate_outlives_its_ca() -> None:
    made = make_certificate(CA.certificate, CA.key, BOB, KEY.public_key(), days=9999)
    assert made.not_valid_after_utc == CA.certificate.not_valid_after_utc


def test_openssl_takes_what_a_ca_makes(tmp_path: Path) -> None:
    own = CA.signs(BOB, KEY.public_key())
    for name, data in (
        ("ca.pem", to_pem(CA.certificate)),
        ("bob.pem", to_pem(own)),
        ("crl.pem", CA.revokes(HOSPITALS)),
        ("revoked.pem", CA.revokes(own)),
    ):
        (tmp_path / name).write_bytes(data)

    def verifies(crl: str, purpose: str) -> bool:
        line = ["openssl", "verify", "-x509_strict", "-crl_check", "-purpose", purpose]
        line += ["-CAfile", "ca.pem", "-CRLfile", crl, "bob.pem"]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, check=False).returncode == 0

    assert verifies("crl.pem", "sslserver")
    assert verifies("crl.pem", "sslclient")
    for purpose in ("sslserver", "sslclient"):
        assert not verifies("revoked.pem", purpose)
