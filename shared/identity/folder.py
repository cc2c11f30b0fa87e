"""The identity folder: what one side proves itself with, and what it knows its peers by.

identity/
    key.pem            the private key; made here, never leaves this machine
    certificate.pem    its certificate, signed by the federation's CA
    ca.pem             that CA; whoever it signed belongs to the federation
    crl.pem            certificates that the CA has revoked
    bob.csr            of a node: its request, for the coordinator's owner
    coordinators.txt   of a node: the coordinators that it works with, a name a line
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import IdentityError
from shared.files import is_present, make_folder, read_bytes, write_whole
from shared.identity.certificates import (
    Name,
    Role,
    UnfitCertificate,
    certificate_from_pem,
    crl_from_pem,
    crl_number,
    describe,
    federation_of,
    fits,
    is_ca,
    is_issued_by,
    key_from_pem,
    key_to_pem,
    moment_in_words,
    name_of,
    new_key,
    to_pem,
)
from shared.locking import locked

DEFAULT = Path("identity")
KEY = "key.pem"
CERTIFICATE = "certificate.pem"
CA = "ca.pem"
CRL = "crl.pem"
COORDINATORS = "coordinators.txt"
WARNING_TIME = timedelta(days=30)
"""How long before its end a certificate is warned of."""
MAX_CRL_BYTES = 64 * 2**20
"""Room for more than a million revoked certificates."""
MAX_ANSWER_BYTES = MAX_CRL_BYTES + 2**20
"""Of what an owner gets back: that list, and a few certificates."""
CRL_LOCK = ".crl.lock"


@dataclass(frozen=True)
class Identity:
    """A folder whose files were found to fit together."""

    folder: Path
    name: Name
    certificate: x509.Certificate
    ca: x509.Certificate
    crl: x509.CertificateRevocationList

    def warnings(self) -> list[str]:
        """What is not wrong yet, or no error; empty where all is well."""
        found = []
        until = self.certificate.not_valid_after_utc
        if until - datetime.now(UTC) < WARNING_TIME:
            found.append(
                f"the certificate of {self.name} ends at {moment_in_words(until)}. "
                + renewal(self.name, self.folder)
            )
        path = self.folder / KEY
        if is_open_to_others(path.stat()):
            found.append(f"others than you may read {path}, a private key: chmod 600 {path}")
        return found


def is_open_to_others(key: os.stat_result) -> bool:
    """Whether a private key's mode lets others at it than this process needs.

    A Secret that is mounted for a group (`fsGroup` in a pod) belongs to root and to a group of this
    process, which reads it as a member: nothing narrower would do, so 0440 and 0640 are right.
    What the process owns is right without a group, and what everybody may touch never is.
    """
    if key.st_uid == 0 != os.geteuid() and key.st_gid in {os.getegid(), *os.getgroups()}:
        return bool(key.st_mode & 0o037)
    return bool(key.st_mode & 0o077)


def is_there(folder: Path) -> bool:
    """True where somebody has begun to make an identity in the folder."""
    return any(is_present(folder / name) for name in (KEY, CERTIFICATE, CA))


def load(folder: Path, role: Role) -> Identity:
    """Reads and checks an identity folder.

    Raises:
        IdentityError: a file is missing, malformed, expired, or does not fit the others.
        StorageError: a file is there and cannot be read.
    """
    _check_complete(folder, role)
    key = read_key(folder)
    ca = _certificate(folder / CA)
    certificate = _certificate(folder / CERTIFICATE)
    if not fits(key, certificate):
        raise unfit(folder / CERTIFICATE, f"it was not made for the key in {folder / KEY}")
    if not is_ca(ca):
        raise unfit(folder / CA, f"it is no CA's: {describe(ca)}")
    if not is_issued_by(certificate, ca):
        why = f"the CA in {folder / CA}, {federation_of(ca)}, did not sign it"
        raise unfit(folder / CERTIFICATE, why)
    try:
        name = name_of(certificate)
    except UnfitCertificate as error:
        raise unfit(folder / CERTIFICATE, str(error)) from error
    if name.role != role:
        why = f"it is a {name.role}'s, and a {role}'s is needed here"
        raise unfit(folder / CERTIFICATE, why, f"Give the {role}'s folder with --identity.")
    check_dates(certificate, renewal(name, folder))
    check_dates(ca, "The federation needs a new CA: python -m server init in new folders.")
    return Identity(folder, name, certificate, ca, _crl(folder, ca))


def read_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Raises IdentityError where it is malformed, StorageError where it cannot be read."""
    try:
        return key_from_pem(read_bytes(folder / KEY))
    except UnfitCertificate as error:
        raise unfit(folder / KEY, str(error)) from error


def kept_or_new_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The folder's key; made, with the folder, where there is none."""
    if is_present(folder / KEY):
        return read_key(folder)
    make_folder(folder)
    key = new_key()
    write_whole(folder / KEY, key_to_pem(key), 0o600)
    return key


def check_dates(certificate: x509.Certificate, next_step: str) -> None:
    """Raises IdentityError for a certificate that is not valid now."""
    now = datetime.now(UTC)
    until, since = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    if now > until:
        fact = f"{describe(certificate)}, has expired"
        raise IdentityError(fact, f"it was valid until {moment_in_words(until)}", next_step)
    if now < since:
        cause = f"it begins at {moment_in_words(since)}, and here it is {moment_in_words(now)}"
        fact = f"{describe(certificate)}, is not valid yet"
        raise IdentityError(fact, cause, "Set this machine's clock.")


def unfit(path: str | Path, why: str, next_step: str = "") -> IdentityError:
    """The error for a file that is not what it should be."""
    return IdentityError(f"{path} is unfit", why, next_step)


def _check_complete(folder: Path, role: Role) -> None:
    missing = [name for name in (KEY, CERTIFICATE, CA, CRL) if not is_present(folder / name)]
    if not missing:
        return
    if role == "coordinator":
        next_step = f"Make it with: python -m server init --identity {folder}"
    elif KEY in missing:
        next_step = f"Make it with: python -m worker_node init --id ID --identity {folder}"
    else:
        requests = ", ".join(str(path) for path in folder.glob("*.csr")) or "the request"
        next_step = (
            f"Send {requests} to the coordinator's owner, and install what comes back with: "
            f"python -m worker_node join FILE --identity {folder}"
        )
    raise IdentityError(
        f"there is no {role}'s identity in {folder}", f"{', '.join(missing)} missing", next_step
    )


def _certificate(path: Path) -> x509.Certificate:
    try:
        return certificate_from_pem(read_bytes(path))
    except UnfitCertificate as error:
        raise unfit(path, str(error)) from error


def _crl(folder: Path, ca: x509.Certificate) -> x509.CertificateRevocationList:
    try:
        crl = crl_from_pem(read_bytes(folder / CRL, MAX_CRL_BYTES))
    except UnfitCertificate as error:
        raise unfit(folder / CRL, str(error)) from error
    check_crl(folder / CRL, crl, ca)
    return crl


def check_crl(path: str | Path, crl: x509.CertificateRevocationList, ca: x509.Certificate) -> None:
    """Raises IdentityError for a list of revoked certificates that is another CA's, or is over."""
    key = ca.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not crl.is_signature_valid(key):
        raise unfit(path, f"{federation_of(ca)} did not sign its list of revoked certificates")
    until = crl.next_update_utc
    if until is not None and until < datetime.now(UTC):
        raise unfit(path, f"its list of revoked certificates ended at {moment_in_words(until)}")


def install_crl(
    folder: Path,
    newest: Callable[[], x509.CertificateRevocationList],
    source: str | Path,
) -> None:
    """Puts a list of revoked certificates into an identity folder, unless a newer one is there.

    Args:
        newest: gives the list; called while nobody else installs one, so that of several who
            install what they have just read, the last to do so has read the newest.
        source: of the list, for the error.

    Raises:
        IdentityError: what is there has a higher number (RFC 5280, 5.2.3): who was revoked in
            between would be let in again. StorageError: it cannot be written.
    """
    with locked(folder, CRL_LOCK):
        _put_crl(folder / CRL, newest(), source)


def _put_crl(path: Path, crl: x509.CertificateRevocationList, source: str | Path) -> None:
    if is_present(path):
        try:
            before = crl_number(crl_from_pem(read_bytes(path, MAX_CRL_BYTES)))
        except UnfitCertificate as error:
            raise unfit(path, str(error)) from error
        if before > crl_number(crl):
            why = f"its list of revoked certificates is number {crl_number(crl)}, and {path} is"
            raise unfit(source, f"{why} number {before}", "Ask for the newest one.")
    write_whole(path, to_pem(crl))


def renewal(name: Name, folder: Path) -> str:
    if name.role == "coordinator":
        return f"Renew it with: python -m server renew --identity {folder}"
    return (
        f"Renew it: python -m worker_node init --id {name.id} --identity {folder} makes the "
        f"request {name.id}.csr, the coordinator's owner admits it, then python -m worker_node "
        f"join {name.id}.pem --identity {folder}, and start the node again."
    )
