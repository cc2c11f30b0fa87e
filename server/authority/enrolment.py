"""Enrolment at the coordinator's side: its own identity, and owners' requests and bundles."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from server.authority.folder import CRL, Authority, Issued
from shared.errors import IdentityError, StorageError
from shared.files import UnfitFile, is_present, read_bytes, write_whole
from shared.identity import folder as identity
from shared.identity.certificates import (
    Name,
    UnfitCertificate,
    certificate_from_pem,
    certificates_from_pem,
    crl_from_pem,
    is_ca,
    is_issued_by,
    name_of,
    request_from_pem,
    to_pem,
)

MAX_REQUEST_BYTES = 64 * 1024
"""Largest request that is read; an honest one has about 500 bytes."""
AGAIN = "Ask its owner for the file that python -m worker_node init made."
OUR_NAMES = {"ca", "ca-key", "crl", "issued", "key", "certificate"}
"""Ids whose answer would be called like a file of an authority or an identity."""


def own_certificate(folder: Path) -> x509.Certificate | None:
    """What stands in certificate.pem of an identity folder; None where there is none.

    Raises:
        IdentityError: it is malformed. StorageError: it cannot be read.
    """
    path = folder / identity.CERTIFICATE
    if not is_present(path):
        return None
    try:
        return certificate_from_pem(read_bytes(path))
    except UnfitCertificate as error:
        raise identity.unfit(path, str(error)) from error


def check_own(folder: Path, certificate: x509.Certificate, name: str | None, ca: Path) -> Name:
    """The name of the coordinator whose identity the folder holds.

    Raises:
        IdentityError: it is another's than `name`, a node's, or of another federation.
    """
    try:
        found = name_of(certificate)
        authority = certificate_from_pem(read_bytes(ca))
    except UnfitCertificate as error:
        raise identity.unfit(folder / identity.CERTIFICATE, str(error)) from error
    elsewhere = "Name another folder with --identity."
    if found.role != "coordinator" or name not in (None, found.id):
        raise IdentityError(f"{folder} holds the identity of {found}", next_step=elsewhere)
    if not is_issued_by(certificate, authority):
        fact = f"{folder} holds the identity of {found} of another federation"
        raise IdentityError(fact, f"the CA in {ca} did not sign it", elsewhere)
    return found


def make_own(authority: Authority, folder: Path, name: Name, days: int) -> Issued:
    """Makes, or renews, a coordinator's identity; a key that is there is kept.

    Raises:
        IdentityError: the name is another's. StorageError: the folder cannot be written.
    """
    key = identity.kept_or_new_key(folder)
    issued = authority.issue(name, key.public_key(), days)
    identity.install_crl(folder, lambda: crl_from_pem(authority.crl()), authority.folder / CRL)
    write_whole(folder / identity.CA, to_pem(authority.ca))
    write_whole(folder / identity.CERTIFICATE, issued.pem.encode())  # last: where it is, all is
    return issued


def spread_crl(authority: Authority, folder: Path) -> bool:
    """Copies the list of revoked certificates to a coordinator of this federation.

    Returns:
        False where the folder holds no identity of this federation; nothing is written then.
    """
    certificate = own_certificate(folder)
    if certificate is None or not is_issued_by(certificate, authority.ca):
        return False
    identity.install_crl(folder, lambda: crl_from_pem(authority.crl()), authority.folder / CRL)
    return True


def read_request(path: Path) -> tuple[Name, ec.EllipticCurvePublicKey]:
    """An owner's request: the node that asks, and its key.

    Raises:
        IdentityError: the file is no request of a node. StorageError: it cannot be read.
    """
    try:
        return request_of(read_bytes(path, MAX_REQUEST_BYTES), path)
    except UnfitFile as error:
        raise identity.unfit(path, error.cause, AGAIN) from error


def request_of(data: bytes, where: str | Path) -> tuple[Name, ec.EllipticCurvePublicKey]:
    """The same of a request that came some other way.

    Args:
        where: it came from, for the error.
    """
    try:
        name, key = request_from_pem(data)
    except UnfitCertificate as error:
        raise identity.unfit(where, str(error), AGAIN) from error
    check_name(name, where)
    return name, key


def check_name(name: Name, where: str | Path) -> None:
    """Raises IdentityError where no node may be called so."""
    if name.id.lower() in OUR_NAMES:
        raise identity.unfit(where, f"a file of ours is called {name.id}: no node may be", AGAIN)
    if name.role != "node":
        raise identity.unfit(where, f"it asks to be {name}, and owners ask for nodes", AGAIN)


def answer_path(name: Name) -> Path:
    """Where an owner's answer goes by default: `ID.pem` of the current folder, and of nothing else.

    Raises:
        IdentityError: a file of that name is there, and is no earlier answer to this node. The id
            is the owner's choice, and ours are the files that it could replace.
    """
    path = Path(f"{name.id}.pem")
    if not is_present(path):
        return path
    try:
        held = certificates_from_pem(read_bytes(path, identity.MAX_ANSWER_BYTES))
        names = [name_of(one) for one in held if not is_ca(one)]
    except (UnfitCertificate, StorageError):
        names = []
    if name not in names:
        raise IdentityError(
            f"{path} is there already, and is no answer to {name}",
            "a file of yours would be replaced",
            "Say where the answer goes with --out, or ask the owner for another id.",
        )
    return path


def bundle(authority: Authority, issued: Issued) -> bytes:
    """What an owner gets back, in PEM: certificate, coordinators' certificates, CA, revoked ones.

    Nothing in it is secret.
    """
    coordinators = [one.pem.encode() for one in authority.coordinators()]
    return b"".join([issued.pem.encode(), *coordinators, to_pem(authority.ca), authority.crl()])
