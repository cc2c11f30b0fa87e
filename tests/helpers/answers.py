"""Answers to a node's request, whose parts a test can change one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from shared.identity.certificates import key_to_pem, to_pem
from tests.helpers.made_certificates import BOB, HOSPITAL, new_ca
from worker_node.membership.enrolment import join

CA, OTHER = new_ca(), new_ca()
KEY = ec.generate_private_key(ec.SECP256R1())
HOSPITALS = CA.signs(HOSPITAL, KEY.public_key())


@dataclass(frozen=True)
class Answer:
    """The parts of an answer to bob, in PEM."""

    own: bytes
    coordinators: bytes
    ca: bytes
    crl: bytes

    @property
    def pem(self) -> bytes:
        return self.own + self.coordinators + self.ca + self.crl


def folder_with_key(path: Path) -> Path:
    """Of a node that has a key, and has not joined."""
    path.mkdir()
    (path / "key.pem").write_bytes(key_to_pem(KEY))
    return path


def good(certificate: x509.Certificate | None = None) -> Answer:
    own = certificate or CA.signs(BOB, KEY.public_key())
    return Answer(to_pem(own), to_pem(HOSPITALS), to_pem(CA.certificate), CA.revokes())


def joins(folder: Path, answer: Answer) -> None:
    path = folder.parent / "answer.pem"
    path.write_bytes(answer.pem)
    join(path, folder)
