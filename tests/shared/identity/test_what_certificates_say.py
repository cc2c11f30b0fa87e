"""What is read of a certificate, also of a stranger's: names, dates, uses, and who made it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.identity.certificates import (
    UnfitCertificate,
    certificate_from_pem,
    crl_from_pem,
    crl_number,
    day,
    describe,
    federation_of,
    fingerprint,
    is_ca,
    is_issued_by,
    key_to_pem,
    may_dial,
    may_listen,
    moment_in_words,
    new_key,
    new_request,
    request_from_pem,
    to_pem,
)
from tests.helpers.made_certificates import BOB, DAY, NOW, Ca, new_ca

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
SIGNING = ExtendedKeyUsageOID.CODE_SIGNING


@pytest.fixture(scope="module")
def ca() -> Ca:
    return new_ca()


def test_a_new_key_is_one_of_p_256_and_no_two_are_the_same() -> None:
    one, other = new_key(), new_key()
    assert isinstance(one.curve, ec.SECP256R1)
    assert key_to_pem(one) != key_to_pem(other)


def test_openssl_reads_a_request_as_it_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "bob.csr"
    path.write_bytes(new_request(new_key(), BOB))
    line = ["openssl", "req", "-in", str(path), "-noout", "-text", "-verify"]
    told = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert "URI:fedsms:node:bob" in told
    assert "Subject Alternative Name: critical" not in told
    assert "prime256v1" in told


@pytest.mark.parametrize("data", [b"", b"nothing", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_what_is_no_request_is_told(data: bytes) -> None:
    with pytest.raises(UnfitCertificate, match="not a signing request"):
        request_from_pem(data)


@pytest.mark.parametrize(
    ("usages", "listens", "dials"),
    [
        (None, True, True),
        ((SERVER,), True, False),
        ((CLIENT,), False, True),
        ((CLIENT, SERVER), True, True),
        ((SIGNING,), False, False),
    ],
)
def test_a_certificate_is_for_what_it_says(
    usages: tuple[x509.ObjectIdentifier, ...] | None, listens: bool, dials: bool, ca: Ca
) -> None:
    usage = x509.ExtendedKeyUsage(usages) if usages is not None else None
    made = ca.signs(BOB, new_key().public_key(), usage=usage)
    assert may_listen(made) is listens
    assert may_dial(made) is dials


def test_a_ca_is_one_that_says_so_and_who_signed_is_found_by_the_key(ca: Ca) -> None:
    bob = ca.signs(BOB, new_key().public_key())
    assert is_ca(ca.certificate) is True
    assert is_ca(bob) is False
    assert is_ca(plain(x509.Name([]))) is False  # it does not say
    assert is_issued_by(bob, ca.certificate) is True
    assert is_issued_by(bob, new_ca().certificate) is False


def test_the_number_of_a_list_is_as_it_was_given_and_none_is_0(ca: Ca) -> None:
    assert crl_number(crl_from_pem(ca.revokes(number=7))) == 7
    builder = x509.CertificateRevocationListBuilder(ca.certificate.issuer, NOW, NOW + DAY)
    assert crl_number(builder.sign(ca.key, hashes.SHA256())) == 0


def plain(subject: x509.Name) -> x509.Certificate:
    """A certificate that says nothing of fedsms, made by whoever is named in it."""
    key = new_key()
    builder = x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=subject,
        public_key=key.public_key(),
        serial_number=5,
        not_valid_before=datetime(2026, 11, 22, 18, 5, tzinfo=UTC),
        not_valid_after=datetime(2027, 11, 22, 18, 5, tzinfo=UTC),
    )
    return certificate_from_pem(to_pem(builder.sign(key, hashes.SHA256())))


def named(text: str) -> x509.Certificate:
    return plain(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _validate=False)]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("somebody", "somebody"),
        ("two\nlines\x1b[2J", "two?lines?[2J"),
        ("\u202eright to left", "?right to left"),
        ("a" * 99 + "bc", "a" * 99 + "b"),
    ],
)
@pytest.mark.filterwarnings("ignore:Attribute's length")  # which another maker would not heed
def test_a_strangers_name_is_shown_within_bounds(text: str, shown: str) -> None:
    assert federation_of(named(text)) == shown


def test_a_certificate_is_described_in_a_line(ca: Ca) -> None:
    one = named("somebody")
    assert describe(one) == (
        "the certificate of somebody, of somebody, valid from 2026-11-22 18:05 UTC until "
        f"2027-11-22 18:05 UTC, fingerprint {fingerprint(one)[:23]}..."
    )
    assert describe(plain(x509.Name([]))).startswith("the certificate of nobody, of nobody, ")
    bob = ca.signs(BOB, new_key().public_key())
    whose = f"the certificate of node bob, of {federation_of(ca.certificate)}, "
    assert describe(bob).startswith(whose)


def test_moments_are_told_in_utc() -> None:
    moment = datetime(2026, 11, 22, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    assert (day(moment), moment_in_words(moment)) == ("2026-11-23", "2026-11-23 01:30 UTC")
