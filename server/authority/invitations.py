"""Invitations: who may join with a secret instead of a file, and what became of each.

authority/
    invitations.json   every invitation: for whom, until when, and the SHA-256 of its secret

A secret has 128 bits, so a plain digest of it tells nothing. It is compared in constant time, with
at most MAX_TRIES wrong ones, and spent in one step: under a lock, before anything is signed, for
the one key that came with it. The same key may ask again, since an answer may get lost.
"""

from __future__ import annotations

import hashlib
import hmac
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from server.authority.enrolment import bundle, check_name, request_of
from server.authority.folder import MAX_RECORD_BYTES, Authority
from shared.errors import CertificateRefused, IdentityError, UsageError
from shared.files import is_present, read_bytes, write_whole
from shared.identity.certificates import Name, day, fingerprint, key_fingerprint
from shared.identity.folder import unfit
from shared.identity.invitation import Invitation, new_invitation
from shared.locking import locked
from shared.wire.joining import JoinQuestion

INVITATIONS = "invitations.json"
LOCK = ".invitations.lock"
MAX_TRIES = 5
"""Wrong secrets for one invitation; and answers to the key that has spent it."""
KEPT = 10_000
"""Invitations that are remembered."""


class Invited(BaseModel):
    """One invitation. `digest`: of its secret. `key`: fingerprint of the key that has spent it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    node: str
    digest: str
    days: int
    replace: bool = False
    made: datetime
    until: datetime
    wrong: int = 0
    answers: int = 0
    revoked: datetime | None = None
    key: str | None = None
    joined: datetime | None = None
    origin: str | None = None

    @property
    def state(self) -> str:
        if self.key is not None:
            return "joined"
        if self.revoked is not None:
            return "revoked"
        if self.wrong >= MAX_TRIES:
            return "closed"
        return "open" if datetime.now(UTC) < self.until else "ended"

    def as_dict(self) -> dict[str, Any]:
        hidden = {"digest", "wrong", "answers"}
        told = self.model_dump(mode="json", exclude=hidden)
        return {**told, "wrong_secrets": self.wrong, "state": self.state}


class _Record(BaseModel):
    """The file. place: where owners dial, as it was given last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    place: str = ""
    invitations: list[Invited] = []


@dataclass(frozen=True)
class Invitations:
    """An authority's invitations. Its methods may run at the same time in any processes."""

    authority: Authority

    def all(self) -> list[Invited]:
        """Oldest first. Raises IdentityError, StorageError."""
        return self._read().invitations

    @property
    def any_open(self) -> bool:
        return any(one.state == "open" for one in self.all())

    def place(self) -> str:
        """Where owners dial, as it was given last; "" where it never was."""
        return self._read().place

    def invite(
        self, node: str, place: str, valid: timedelta, days: int, replace: bool = False
    ) -> Invitation:
        """Makes an invitation; an earlier one for the node, if it is open, is revoked.

        Args:
            place: HOST:PORT where owners dial. valid: for how long it may be used.
            days: of the certificate. replace: revokes what another key has under this name.

        Raises:
            IdentityError: the name is a coordinator's. UsageError: place or node cannot be one.
        """
        check_name(Name("node", node), self.authority.folder / INVITATIONS)
        self.authority.check_free(Name("node", node), "", replace)
        made = new_invitation(node, place, fingerprint(self.authority.ca))
        now = datetime.now(UTC)
        new = Invited(
            id=made.id,
            node=node,
            digest=_digest(made.secret),
            days=days,
            replace=replace,
            made=now,
            until=now + valid,
        )
        with self._locked():
            kept = [_revoked(one) if one.node == node else one for one in self.all()]
            self._write(_Record(place=place, invitations=[*kept, new]))
        return made

    def revoke(self, node: str) -> int:
        """Revokes the open invitations of a node; gives how many there were.

        Raises:
            UsageError: there is none.
        """
        with self._locked():
            before = self._read()
            open_ones = [one for one in before.invitations if _is_open(one, node)]
            if not open_ones:
                raise UsageError(
                    f"there is no open invitation for {node}",
                    next_step="Who was invited: python -m server invite --list. A certificate is "
                    f"taken back with: python -m server revoke {node}",
                )
            after = [_revoked(one) if one in open_ones else one for one in before.invitations]
            self._write(before.model_copy(update={"invitations": after}))
        return len(open_ones)

    def answer(self, question: JoinQuestion, origin: str) -> tuple[Invited, bytes]:
        """Spends an invitation, and signs the request that came with it.

        Args:
            origin: address that it came from.

        Returns:
            The invitation as it is now, and what `admit` writes.

        Raises:
            CertificateRefused: the secret is wrong, or nothing can be joined with it; the request
            is unfit. IdentityError, StorageError: the CA cannot sign it.
        """
        try:
            name, key = request_of(question.request.encode(), "the request")
        except IdentityError as error:
            raise _refused(error) from error
        spent = self._spend(question, name, key_fingerprint(key), origin)
        # what was issued since then is not taken back by whoever asks again
        replace = spent.replace and spent.answers == 1
        issued = self.authority.issue(name, key, spent.days, replace)
        return spent, bundle(self.authority, issued)

    def _spend(self, question: JoinQuestion, name: Name, key: str, origin: str) -> Invited:
        with self._locked():
            before = self._read()
            found = next((one for one in before.invitations if one.id == question.invitation), None)
            digest = found.digest if found is not None else _digest("nobody's")
            is_right = hmac.compare_digest(digest, _digest(question.secret))
            if found is None or found.wrong >= MAX_TRIES:
                raise _not_good()
            if not is_right:
                after = found.model_copy(update={"wrong": found.wrong + 1})
                self._replace(before, found, after)
                raise _not_good()
            _check_use(found, name, key)
            if found.key is None:  # what cannot be signed spends nothing
                self._check_free(name, key, found.replace)
            after = found.model_copy(
                update={
                    "key": key,
                    "answers": found.answers + 1,
                    "joined": found.joined or datetime.now(UTC),
                    "origin": found.origin or origin,
                }
            )
            self._replace(before, found, after)
            return after

    def _check_free(self, name: Name, key: str, replace: bool) -> None:
        try:
            self.authority.check_free(name, key, replace)
        except IdentityError as error:
            raise _refused(error) from error

    def _replace(self, record: _Record, old: Invited, new: Invited) -> None:
        after = [new if one is old else one for one in record.invitations]
        self._write(record.model_copy(update={"invitations": after}))

    def _read(self) -> _Record:
        path = self.authority.folder / INVITATIONS
        if not is_present(path):
            return _Record()
        try:
            return _Record.model_validate_json(read_bytes(path, MAX_RECORD_BYTES))
        except ValidationError as error:
            raise unfit(path, error.errors()[0]["msg"], "Move it away, and invite anew.") from error

    def _write(self, record: _Record) -> None:
        kept = record.model_copy(update={"invitations": record.invitations[-KEPT:]})
        data = kept.model_dump_json(indent=2).encode() + b"\n"
        write_whole(self.authority.folder / INVITATIONS, data, 0o600)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.authority.folder, LOCK)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_open(one: Invited, node: str) -> bool:
    return one.node == node and one.state == "open"


def _revoked(one: Invited) -> Invited:
    return one.model_copy(update={"revoked": datetime.now(UTC)}) if one.state == "open" else one


def _refused(error: IdentityError) -> CertificateRefused:
    """The same, for the owner who joins."""
    return CertificateRefused(error.fact, error.cause, "Ask the coordinator's owner.")


def _not_good() -> CertificateRefused:
    return CertificateRefused(
        "the invitation is not good here",
        "it is of no invitation that is known, or was tried too often",
        "Ask the coordinator's owner for another.",
    )


def _check_use(found: Invited, name: Name, key: str) -> None:
    """Raises CertificateRefused where nothing can be joined with a good secret."""
    if name != Name("node", found.node):
        raise CertificateRefused(f"the invitation is for node {found.node}, and not for {name}")
    if found.key is not None and found.key != key:
        raise CertificateRefused(
            f"somebody has joined as {found.node} with this invitation already",
            f"with another key, on {day(found.joined or found.made)}",
            "If that was not you, tell the coordinator's owner at once: python -m server revoke "
            f"{found.node}",
        )
    if found.revoked is not None:
        raise CertificateRefused("the invitation was revoked", next_step="Ask for another.")
    if datetime.now(UTC) >= found.until:
        ended = f"on {day(found.until)}"
        raise CertificateRefused("the invitation has ended", ended, "Ask for another.")
    if found.answers >= MAX_TRIES:
        raise CertificateRefused("the invitation was answered too often", next_step="Ask anew.")
