"""Enrolment at the owner's side: a key and a request, and what the coordinator's owner sends back.

The private key is made here and stays here; what travels is the request and the answer to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from shared.errors import IdentityError
from shared.files import UnfitFile, is_present, read_bytes, write_whole
from shared.identity import folder as identity
from shared.identity.certificates import (
    Name,
    UnfitCertificate,
    certificate_from_pem,
    certificates_from_pem,
    crl_from_pem,
    day,
    federation_of,
    fingerprint,
    fits,
    is_ca,
    is_issued_by,
    key_fingerprint,
    name_of,
    new_request,
    to_pem,
)
from shared.identity.names import NODE_ID_PATTERN


@dataclass(frozen=True)
class Answer:
    """What the coordinator's owner sent back, sorted."""

    certificate: x509.Certificate
    coordinators: list[x509.Certificate]
    ca: x509.Certificate
    crl: x509.CertificateRevocationList


@dataclass(frozen=True)
class Joined:
    """What was installed.

    coordinators: names that the node works with from its next start on.
    not_listed: names in the answer that the owner's own coordinators.txt does not have.
    """

    name: Name
    valid_until: str
    federation: str
    ca_fingerprint: str
    coordinators: list[str]
    not_listed: list[str]


def make_request(folder: Path, node_id: str) -> tuple[Path, str]:
    """Writes the request of a folder's key; the key is made where there is none.

    Returns:
        Where the request lies, and the fingerprint of the key.

    Raises:
        IdentityError: the folder is another node's. StorageError: it cannot be written.
    """
    for other in _ids_in(folder) - {node_id}:
        raise IdentityError(
            f"{folder} is the identity folder of {other}",
            next_step=f"Give {node_id} a folder of its own with --identity.",
        )
    key = identity.kept_or_new_key(folder)
    path = folder / f"{node_id}.csr"
    write_whole(path, new_request(key, Name("node", node_id)))
    return path, key_fingerprint(key.public_key())


def _ids_in(folder: Path) -> set[str]:
    """Whose folder it is, by its requests and its certificate."""
    ids = {path.stem for path in folder.glob("*.csr")}
    if is_present(folder / identity.CERTIFICATE):
        try:
            name = name_of(certificate_from_pem(read_bytes(folder / identity.CERTIFICATE)))
        except UnfitCertificate as error:
            raise identity.unfit(folder / identity.CERTIFICATE, str(error)) from error
        ids.add(name.id if name.role == "node" else str(name))
    return ids


def join(path: Path, folder: Path) -> Joined:
    """Checks an answer and installs it. An owner's own coordinators.txt is left as it is.

    Raises:
        IdentityError: the answer is malformed, expired, another's, or of another federation.
        StorageError: a file cannot be read or written.
    """
    try:
        data = read_bytes(path, identity.MAX_ANSWER_BYTES)
    except UnfitFile as error:
        raise identity.unfit(path, error.cause) from error
    return install(path, data, folder)


def install(
    path: str | Path,
    data: bytes,
    folder: Path,
    ca: str = "",
    giver: x509.Certificate | None = None,
) -> Joined:
    """The same with an answer that came some other way.

    Args:
        path: where it came from, for errors.
        ca: fingerprint that its CA must have, without colons; "" accepts any for a new folder.
        giver: certificate of the coordinator that gave it; None where nobody showed one.
    """
    answer = _sorted(path, data)
    if ca and fingerprint(answer.ca).replace(":", "") != ca:
        raise identity.unfit(path, f"it is of another CA, {federation_of(answer.ca)}")
    name = _check(path, answer, folder)
    if giver is not None and _is_revoked(answer, giver):
        why = f"it came from {name_of(giver)}, whose certificate was revoked"
        raise identity.unfit(path, why, "Tell the federation's owner; somebody else has that key.")
    offered = [name_of(one).id for one in answer.coordinators]
    if not is_present(folder / identity.COORDINATORS):
        lines = ["# Coordinators that this node works with, a name a line.", *offered, ""]
        write_whole(folder / identity.COORDINATORS, "\n".join(lines).encode())
    identity.install_crl(folder, lambda: answer.crl, path)  # first: an older one installs nothing
    write_whole(folder / identity.CA, to_pem(answer.ca))
    write_whole(folder / identity.CERTIFICATE, to_pem(answer.certificate))  # last: now it counts
    allowed = read_coordinators(folder)
    return Joined(
        name,
        day(answer.certificate.not_valid_after_utc),
        federation_of(answer.ca),
        fingerprint(answer.ca),
        allowed,
        [one for one in offered if one not in allowed],
    )


def read_coordinators(folder: Path) -> list[str]:
    """The names in coordinators.txt; none where there is no such file.

    Raises:
        IdentityError: a line is no name. StorageError: the file cannot be read.
    """
    path = folder / identity.COORDINATORS
    if not is_present(path):
        return []
    text = read_bytes(path).decode("utf-8", "replace")
    names = [line.partition("#")[0].strip() for line in text.splitlines()]
    for number, name in enumerate(names, start=1):
        if name and not re.fullmatch(NODE_ID_PATTERN, name):
            raise identity.unfit(path, f"line {number} is no coordinator's name")
    return [name for name in names if name]


def _sorted(path: str | Path, data: bytes) -> Answer:
    again = "Ask the coordinator's owner for the file that python -m server admit wrote."
    try:
        found = certificates_from_pem(data)
        authorities = [one for one in found if is_ca(one)]
        named = [(name_of(one), one) for one in found if not is_ca(one)]
        crl = crl_from_pem(data)
    except UnfitCertificate as error:
        raise identity.unfit(path, str(error), again) from error
    nodes = [one for name, one in named if name.role == "node"]
    if len(nodes) != 1 or len(authorities) != 1:
        why = f"it holds {len(nodes)} nodes' certificates and {len(authorities)} CAs', not one each"
        raise identity.unfit(path, why, again)
    coordinators = [one for name, one in named if name.role == "coordinator"]
    return Answer(nodes[0], coordinators, authorities[0], crl)


def _check(path: str | Path, answer: Answer, folder: Path) -> Name:
    """The name that the answer gives to this node; raises IdentityError where it must not join."""
    name = name_of(answer.certificate)
    if not (folder / identity.KEY).exists():
        raise IdentityError(
            f"there is no key in {folder} that {path} could belong to",
            next_step=f"Run it with the --identity that made {name.id}.csr.",
        )
    if not fits(identity.read_key(folder), answer.certificate):
        raise identity.unfit(
            path,
            f"it was not made for the key in {folder / identity.KEY}",
            f"Send {name.id}.csr of this folder to the coordinator's owner.",
        )
    others = _ids_in(folder) - {name.id}
    if others:
        why = f"it is for {name}, and this folder is {', '.join(sorted(others))}'s"
        raise identity.unfit(path, why)
    for one in (answer.certificate, *answer.coordinators):
        if not is_issued_by(one, answer.ca):
            raise identity.unfit(path, "a certificate in it was not signed by the CA in it")
    identity.check_dates(answer.ca, "Ask the coordinator's owner for a new answer.")
    identity.check_dates(answer.certificate, "Ask the coordinator's owner for a new answer.")
    _check_crl(path, answer)
    _check_federation(path, answer, folder)
    return name


def _check_crl(path: str | Path, answer: Answer) -> None:
    identity.check_crl(path, answer.crl, answer.ca)
    revoked = answer.crl.get_revoked_certificate_by_serial_number(answer.certificate.serial_number)
    if revoked is not None:
        why = f"its certificate was revoked on {day(revoked.revocation_date_utc)}"
        raise identity.unfit(path, why, "Ask the coordinator's owner.")


def _is_revoked(answer: Answer, one: x509.Certificate) -> bool:
    return answer.crl.get_revoked_certificate_by_serial_number(one.serial_number) is not None


def _check_federation(path: str | Path, answer: Answer, folder: Path) -> None:
    """A folder belongs to one federation: whoever could change its CA could train on the rows."""
    if not is_present(folder / identity.CA):
        return
    try:
        ours = certificate_from_pem(read_bytes(folder / identity.CA))
    except UnfitCertificate as error:
        raise identity.unfit(folder / identity.CA, str(error)) from error
    if fingerprint(ours) != fingerprint(answer.ca):
        raise identity.unfit(
            path,
            f"it is of {federation_of(answer.ca)}, and {folder} belongs to {federation_of(ours)}",
            "Make another folder for another federation, with init --identity.",
        )
