"""Enrolment at the command line: init, admit, join, list, renew, revoke, and what they refuse."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from shared.identity.certificates import (
    certificate_from_pem,
    certificates_from_pem,
    crl_from_pem,
    fingerprint,
    is_ca,
)
from tests.helpers.running import Finished, done_well, finish, refused, start

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(90)


def enrol(cli: Cli, node: str = "bob") -> None:
    """In the test's folder: a CA and a coordinator in identity/, and a node in its own folder."""
    done_well(cli("server", "init"))
    done_well(cli("worker_node", "init", "--id", node, "--identity", node))
    done_well(cli("server", "admit", f"{node}/{node}.csr", "--yes"))
    done_well(cli("worker_node", "join", f"{node}.pem", "--identity", node))


def listed(cli: Cli) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(done_well(cli("server", "list", "--json")))
    return rows


# The way that everybody goes


def test_enrolment_ends_with_two_identities_and_no_private_key_ever_travels(
    cli: Cli, tmp_path: Path
) -> None:
    enrol(cli)
    for path in ("identity/key.pem", "authority/ca-key.pem", "bob/key.pem"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600
    secret = b"".join((tmp_path / "bob" / "key.pem").read_bytes().splitlines()[1:-1])
    for path in ("bob/bob.csr", "bob.pem"):
        content = (tmp_path / path).read_bytes()
        assert b"PRIVATE" not in content
        assert secret not in content.replace(b"\n", b"")
    assert (tmp_path / "bob" / "coordinators.txt").read_text().splitlines()[1:] == ["coordinator"]
    states = [(row["id"], row["role"], row["state"]) for row in listed(cli)]
    assert states == [("coordinator", "coordinator", "valid"), ("bob", "node", "valid")]
    assert "bob" in done_well(cli("server", "list"))


def test_both_owners_can_compare_the_same_fingerprints(cli: Cli, tmp_path: Path) -> None:
    made = done_well(cli("server", "init"))
    asked = done_well(cli("worker_node", "init", "--id", "bob", "--identity", "bob"))
    shown = cli("server", "admit", "bob/bob.csr", "--yes").err
    key = asked.partition("fingerprint of its key: ")[2].split()[0]
    assert f"fingerprint of its key: {key}\n" in shown
    ca = fingerprint(certificate_from_pem((tmp_path / "authority" / "ca.pem").read_bytes()))
    joined = done_well(cli("worker_node", "join", "bob.pem", "--identity", "bob"))
    assert f"fingerprint {ca}" in made
    assert f"fingerprint of its CA: {ca}" in joined


def test_init_again_says_what_is_there_and_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    enrol(cli)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    assert "certificate of coordinator coordinator" in done_well(cli("server", "init"))
    done_well(cli("worker_node", "init", "--id", "bob", "--identity", "bob"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.pem")} == before
    refused(cli("server", "init", "--name", "other"), "identity of coordinator coordinator")
    refused(
        cli("worker_node", "init", "--id", "anne", "--identity", "bob"),
        "bob is the identity folder of bob",
    )


def test_a_further_coordinator_is_in_the_next_answer_and_the_owner_decides_on_it(
    cli: Cli, tmp_path: Path
) -> None:
    enrol(cli)
    done_well(cli("server", "init", "--name", "second", "--identity", "second"))
    done_well(cli("server", "admit", "bob/bob.csr", "--yes"))
    joined = done_well(cli("worker_node", "join", "bob.pem", "--identity", "bob"))
    assert "works with: coordinator\n" in joined
    assert "Not with second" in joined
    assert "second" not in (tmp_path / "bob" / "coordinators.txt").read_text()


def test_renewal_keeps_the_key_and_brings_a_new_certificate(cli: Cli, tmp_path: Path) -> None:
    enrol(cli)
    paths = [tmp_path / "bob" / "certificate.pem", tmp_path / "identity" / "certificate.pem"]
    old = [certificate_from_pem(path.read_bytes()) for path in paths]
    done_well(cli("worker_node", "init", "--id", "bob", "--identity", "bob"))
    done_well(cli("server", "admit", "bob/bob.csr", "--yes", "--days", "500"))
    done_well(cli("worker_node", "join", "bob.pem", "--identity", "bob"))
    done_well(cli("server", "renew", "--days", "500"))
    for path, before in zip(paths, old, strict=True):
        after = certificate_from_pem(path.read_bytes())
        assert after.public_key() == before.public_key()
        assert after.not_valid_after_utc > before.not_valid_after_utc + timedelta(days=100)
    assert [row["state"] for row in listed(cli)] == ["valid"] * 4


def test_admits_at_the_same_time_lose_nothing(cli: Cli, tmp_path: Path) -> None:
    done_well(cli("server", "init"))
    owners = [f"owner{number}" for number in range(4)]
    for owner in owners:
        done_well(cli("worker_node", "init", "--id", owner, "--identity", owner))
    running = [
        start("server", "admit", f"{owner}/{owner}.csr", "--yes", cwd=tmp_path) for owner in owners
    ]
    for process in running:
        done_well(finish(process))
    assert sorted(row["id"] for row in listed(cli)) == ["coordinator", *owners]


# Who is asked, and who is refused


def test_nobody_is_admitted_whose_fingerprint_nobody_confirmed(cli: Cli, tmp_path: Path) -> None:
    done_well(cli("server", "init"))
    asked = done_well(cli("worker_node", "init", "--id", "bob", "--identity", "bob"))
    key = asked.partition("fingerprint of its key: ")[2].split()[0]
    admit = ("server", "admit", "bob/bob.csr")
    refused(cli(*admit), "no terminal", "--fingerprint", code=2)
    refused(cli(*admit, "--fingerprint", "ab:" + key[3:]), "not admitted", key, "ask its owner")
    assert not (tmp_path / "bob.pem").exists()
    done_well(cli(*admit, "--fingerprint", "SHA256:" + key.replace(":", "").upper()))
    assert (tmp_path / "bob.pem").exists()


def test_another_key_of_an_admitted_id_needs_replace_which_revokes_the_old(
    cli: Cli, tmp_path: Path
) -> None:
    enrol(cli)
    old = certificate_from_pem((tmp_path / "bob" / "certificate.pem").read_bytes())
    done_well(cli("worker_node", "init", "--id", "bob", "--identity", "new"))
    refused(cli("server", "admit", "new/bob.csr", "--yes"), "already with another key", "--replace")
    done_well(cli("server", "admit", "new/bob.csr", "--yes", "--replace"))
    for folder in ("authority", "identity"):
        crl = crl_from_pem((tmp_path / folder / "crl.pem").read_bytes())
        assert crl.get_revoked_certificate_by_serial_number(old.serial_number) is not None
    assert [row["state"] for row in listed(cli)] == ["valid", "revoked", "valid"]
    refused(cli("server", "admit", "bob/bob.csr", "--yes"), "was revoked")


def test_a_coordinator_and_a_node_never_share_a_name(cli: Cli) -> None:
    enrol(cli)
    done = cli("server", "init", "--name", "bob", "--identity", "other")
    assert done.code == 8
    assert "a node of this federation is called so" in done.err


def test_revoking_is_written_down_and_saying_it_again_is_no_error(cli: Cli) -> None:
    enrol(cli)
    for _ in range(2):
        assert "bob is revoked" in done_well(cli("server", "revoke", "bob"))
    assert [row["state"] for row in listed(cli)] == ["valid", "revoked"]
    refused(cli("server", "revoke", "zoe"), "zoe has no certificate")


def test_commands_without_a_ca_say_how_to_make_one(cli: Cli, tmp_path: Path) -> None:
    done_well(cli("worker_node", "init", "--id", "bob", "--identity", "bob"))
    for arguments in (["list"], ["revoke", "bob"], ["renew"], ["admit", "bob/bob.csr"]):
        refused(cli("server", *arguments), "no CA in authority", "python -m server init")
    done_well(cli("server", "init"))
    (tmp_path / "authority" / "issued.json").write_text('{"certificates": [{}]}')
    refused(cli("server", "list"), "issued.json is unfit", "backup")


# Requests that strangers wrote


def request(*uris: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> bytes:
    """A signed request for these names, which also asks to be a CA."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "\x1b[2Jroot")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    if uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def tampered() -> bytes:
    """A request whose name was changed after it was signed."""
    made = x509.load_pem_x509_csr(request("fedsms:node:bob"))
    data = made.public_bytes(serialization.Encoding.DER).replace(b"node:bob", b"node:rob")
    lines = base64.encodebytes(data).decode()
    end = "CERTIFICATE REQUEST-----"
    return f"-----BEGIN {end}\n{lines}-----END {end}\n".encode()


NOT_A_REQUEST = "not a signing request"
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", NOT_A_REQUEST),
    "binary": (lambda: bytes(range(256)) * 20, NOT_A_REQUEST),
    "cut off": (lambda: request("fedsms:node:bob")[:-80], NOT_A_REQUEST),
    "huge": (lambda: request("fedsms:node:bob") + b"\n" * 70_000, "larger than 65,536 bytes"),
    "tampered with": (tampered, "its signature is wrong"),
    "an RSA key": (
        lambda: request("fedsms:node:bob", key=rsa.generate_private_key(65537, 2048)),
        "not one of the curves",
    ),
    "a weak curve": (
        lambda: request("fedsms:node:bob", key=ec.generate_private_key(ec.SECP224R1())),
        "not one of the curves",
    ),
    "no name": (lambda: request(), "names no node"),
    "two names": (lambda: request("fedsms:node:bob", "fedsms:node:anne"), "or several"),
    "a path for a name": (lambda: request("fedsms:node:../../bob"), "names no node"),
    "a coordinator": (lambda: request("fedsms:coordinator:evil"), "owners ask for nodes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_ends_with_8(cli: Cli, tmp_path: Path, name: str) -> None:
    make, word = HOSTILE[name]
    done_well(cli("server", "init"))
    (tmp_path / "evil.csr").write_bytes(make())
    refused(cli("server", "admit", "evil.csr", "--yes"), "evil.csr is unfit", word)
    assert len(listed(cli)) == 1


def test_what_a_request_asks_for_beyond_its_name_is_passed_over(cli: Cli, tmp_path: Path) -> None:
    done_well(cli("server", "init"))
    (tmp_path / "evil.csr").write_bytes(request("fedsms:node:bob"))
    done_well(cli("server", "admit", "evil.csr", "--yes"))
    made = certificates_from_pem((tmp_path / "bob.pem").read_bytes())[0]
    assert not is_ca(made)
    assert made.subject.rfc4514_string() == "CN=bob"
