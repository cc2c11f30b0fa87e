"""The authority folder: a federation's CA, and a record of every certificate that it signed.

authority/
    ca-key.pem    the CA's private key; who has it decides who belongs to the federation
    ca.pem        the CA's certificate; every side has a copy
    crl.pem       the certificates that were revoked
    issued.json   each certificate ever signed: whose, until when, revoked when

Only `init`, `admit`, `renew`, `revoke` and `list` need it; it can be kept off the network.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from server.authority.issuing import make_ca, make_certificate, make_crl
from shared.errors import IdentityError
from shared.files import is_present, make_folder, read_bytes, write_whole
from shared.identity.certificates import (
    Name,
    Role,
    UnfitCertificate,
    certificate_from_pem,
    crl_from_pem,
    day,
    fits,
    key_fingerprint,
    key_from_pem,
    key_to_pem,
    new_key,
    to_pem,
)
from shared.identity.folder import check_dates, unfit
from shared.locking import locked

CA_KEY = "ca-key.pem"
CA = "ca.pem"
CRL = "crl.pem"
ISSUED = "issued.json"
LOCK = ".lock"
MAX_RECORD_BYTES = 64 * 2**20
"""Room for some 50,000 certificates."""

Read = TypeVar("Read")


class Issued(BaseModel):
    """One certificate that the CA signed. `key` is the fingerprint of the holder's public key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    id: str
    serial: str
    key: str
    valid_from: datetime
    valid_until: datetime
    revoked: datetime | None = None
    pem: str

    @property
    def name(self) -> Name:
        return Name(self.role, self.id)

    def as_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={"pem"}) | {"state": self.state}

    @property
    def state(self) -> str:
        if self.revoked is not None:
            return "revoked"
        return "valid" if datetime.now(UTC) < self.valid_until else "expired"


class _Record(BaseModel):
    """The file of what the CA signed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificates: list[Issued] = []


@dataclass(frozen=True)
class Authority:
    """An authority folder that is there. Its methods may run at the same time in any processes."""

    folder: Path
    ca: x509.Certificate

    def issued(self) -> list[Issued]:
        """Every certificate ever signed, oldest first. Raises IdentityError, StorageError."""
        path = self.folder / ISSUED
        if not is_present(path):
            return []
        try:
            return _Record.model_validate_json(read_bytes(path, MAX_RECORD_BYTES)).certificates
        except ValidationError as error:
            raise unfit(path, error.errors()[0]["msg"], "Take it from a backup.") from error

    def coordinators(self) -> list[Issued]:
        """The newest valid certificate of each coordinator."""
        newest = {one.id: one for one in self.issued() if one.role == "coordinator"}
        return [one for one in newest.values() if one.state == "valid"]

    def crl(self) -> bytes:
        """crl.pem as it stands. Raises StorageError."""
        return read_bytes(self.folder / CRL, MAX_RECORD_BYTES)

    def check_free(self, name: Name, key: str, replace: bool) -> None:
        """Raises the IdentityError that `issue` would raise now.

        Args:
            key: the key's fingerprint.
        """
        _check_free(self.issued(), name, key, replace)

    def issue(
        self, name: Name, key: ec.EllipticCurvePublicKey, days: int, replace: bool = False
    ) -> Issued:
        """Signs a certificate; for a key that has one already, a further one.

        Args:
            replace: revokes what others hold under this name, instead of refusing.

        Raises:
            IdentityError: the name is another's, the key was revoked, or the CA has expired.
        """
        check_dates(self.ca, "The federation needs a new CA: python -m server init in new folders.")
        with self._locked():
            before = self.issued()
            key_print = key_fingerprint(key)
            _check_free(before, name, key_print, replace)
            made = make_certificate(self.ca, self._key(), name, key, days)
            new = Issued(
                role=name.role,
                id=name.id,
                serial=f"{made.serial_number:x}",
                key=key_print,
                valid_from=made.not_valid_before_utc,
                valid_until=made.not_valid_after_utc,
                pem=to_pem(made).decode(),
            )
            others = [one for one in before if one.name == name and one.key != key_print]
            self._keep([*_revoked(before, others), new])
            return new

    def revoke(self, node_id: str) -> list[Issued]:
        """Revokes every certificate of a name. Idempotent.

        Returns:
            All of its certificates.

        Raises:
            IdentityError: the name has none.
        """
        with self._locked():
            before = self.issued()
            of_name = [one for one in before if one.id == node_id]
            if not of_name:
                raise IdentityError(
                    f"{node_id} has no certificate of this federation",
                    next_step="Who has one: python -m server list",
                )
            after = _revoked(before, of_name)
            self._keep(after)
            return [one for one in after if one.id == node_id]

    def _keep(self, certificates: list[Issued]) -> None:
        revoked = [(int(one.serial, 16), one.revoked) for one in certificates if one.revoked]
        self._require_revoked({serial for serial, _ in revoked})
        # The record first: crl.pem is made of it, and can be made again.
        record = _Record(certificates=certificates)
        write_whole(self.folder / ISSUED, record.model_dump_json(indent=2).encode() + b"\n", 0o600)
        crl = make_crl(self.ca, self._key(), revoked, number=len(revoked) + 1)
        write_whole(self.folder / CRL, to_pem(crl))

    def _require_revoked(self, serials: set[int]) -> None:
        """A record that was lost, or is an older one, must not take a revocation back."""
        if {one.serial_number for one in _read(self.folder / CRL, crl_from_pem)} - serials:
            raise unfit(
                self.folder / ISSUED,
                f"it lacks certificates that {self.folder / CRL} says are revoked",
                "Take the newest one from a backup.",
            )

    def _key(self) -> ec.EllipticCurvePrivateKey:
        path = self.folder / CA_KEY
        key = _read(path, key_from_pem)
        if not fits(key, self.ca):
            raise unfit(path, f"it is not the key of the CA in {self.folder / CA}")
        return key

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.folder, LOCK)


def open_authority(folder: Path) -> Authority:
    """Raises IdentityError where there is none, or where it is malformed."""
    if not is_present(folder / CA):
        raise IdentityError(
            f"there is no CA in {folder}",
            f"{folder / CA} missing",
            "Make one with: python -m server init; or say where it is with --authority.",
        )
    return Authority(folder, _read(folder / CA, certificate_from_pem))


def make_authority(folder: Path) -> tuple[Authority, bool]:
    """The authority in a folder, made where there is none; and whether it was made now.

    Raises:
        IdentityError: what is there is malformed. StorageError: it cannot be written.
    """
    if is_present(folder / CA):
        return open_authority(folder), False
    make_folder(folder)
    with locked(folder, LOCK):
        if is_present(folder / CA):
            return open_authority(folder), False
        key = new_key()
        ca = make_ca(key)
        write_whole(folder / CA_KEY, key_to_pem(key), 0o600)
        write_whole(folder / CRL, to_pem(make_crl(ca, key, [], number=1)))
        write_whole(folder / CA, to_pem(ca))  # last: where it is, all is
    return Authority(folder, ca), True


def _read(path: Path, parse: Callable[[bytes], Read]) -> Read:
    try:
        return parse(read_bytes(path, MAX_RECORD_BYTES))
    except UnfitCertificate as error:
        raise unfit(path, str(error)) from error


def _check_free(before: list[Issued], name: Name, key: str, replace: bool) -> None:
    """Raises IdentityError where a name must not be given to a key."""
    if any(one.id == name.id and one.role != name.role for one in before):
        other = "coordinator" if name.role == "node" else "node"
        raise IdentityError(
            f"{name.id} cannot be a {name.role}",
            f"a {other} of this federation is called so",
            "Choose another name.",
        )
    for one in before:
        if one.name != name or replace:
            continue
        if one.key == key and one.revoked is not None:
            raise IdentityError(
                f"the key of {name} was revoked",
                f"on {day(one.revoked)}",
                f"Make a new key in an empty folder, or say --replace to admit {name.id} anyway.",
            )
        if one.key != key and one.revoked is None:
            raise IdentityError(
                f"{name} has been admitted already with another key",
                f"with {one.key}, in a certificate valid until {day(one.valid_until)}",
                _other_key(name),
            )


def _other_key(name: Name) -> str:
    if name.role == "coordinator":
        return (
            "Take the folder that holds that key, another --name, or revoke it first: "
            f"python -m server revoke {name.id}"
        )
    return "Ask its owner. Where the old key is lost or no more in use, --replace revokes it."


def _revoked(certificates: list[Issued], chosen: list[Issued]) -> list[Issued]:
    now = datetime.now(UTC)
    serials = {one.serial for one in chosen if one.revoked is None}
    return [
        one.model_copy(update={"revoked": now}) if one.serial in serials else one
        for one in certificates
    ]
