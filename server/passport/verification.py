"""Verifies offline what a run folder says of its model: passport, card, and who is out of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from server.passport.facts import FILES, file_digest
from server.passport.making import PASSPORT, SignedPassport, check_countersignature
from server.passport.model_card import CARD, model_card
from server.runs.resume import read_rounds, read_settings
from shared.errors import NotProven, StorageError
from shared.files import is_present, read_bytes
from shared.identity import folder as identities
from shared.identity.certificates import Name, UnfitCertificate, certificate_from_pem, crl_from_pem
from shared.identity.certificates import is_ca as is_a_ca
from shared.identity.folder import CA, CRL, MAX_CRL_BYTES, check_crl, unfit
from shared.passport.signing import Purpose, Signature, Trusted, parse_json
from shared.passport.statements import Forgotten, Passport
from shared.secure_aggregation.contents import recipe_digest, state_digest
from shared.trained_model.saved_model import load

FORGOTTEN = "forgotten.json"
MAX_BYTES = 256 * 2**20
Table = TypeVar("Table", bound=BaseModel)


class SignedForgotten(BaseModel, frozen=True, extra="forbid", strict=True):
    """forgotten.json: either signed, or `unsigned` says why not."""

    forgotten: Forgotten
    signature: Signature | None = None
    unsigned: str = ""


@dataclass(frozen=True)
class Verified:
    """What was found to hold, a line each."""

    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def trusted_by(identity: Path, ca: Path | None) -> Trusted:
    """Whose signatures count.

    Args:
        identity: an identity folder, coordinator's or node's, whose CA and list of revoked
            certificates count.
        ca: a CA's certificate in its place, for whoever is no member; then nobody is revoked.

    Raises:
        IdentityError: it is missing, or no CA's. StorageError: it cannot be read.
    """
    path = ca if ca is not None else identity / CA
    if ca is None and not is_present(path):
        raise unfit(path, "it is not there", "Name the federation's CA with --ca FILE.")
    try:
        found = certificate_from_pem(read_bytes(path))
        if ca is not None or not is_present(identity / CRL):
            crl = None
        else:
            crl = crl_from_pem(read_bytes(identity / CRL, MAX_CRL_BYTES))
    except UnfitCertificate as error:
        raise unfit(path, str(error)) from error
    if not is_a_ca(found):
        raise unfit(path, "it is no CA's certificate")
    if crl is None:
        return Trusted(found)
    check_crl(identity / CRL, crl, found)
    return Trusted(found, crl)


def verify(path: Path, identity: Path = identities.DEFAULT, ca: Path | None = None) -> Verified:
    """Verifies all that a run folder has: its passport, and that an owner is out.

    Args:
        identity, ca: as trusted_by has them; not read for what is unsigned.

    Raises:
        NotProven: something is unsigned, or does not hold.
        StorageError: there is nothing to verify, or it cannot be read.
        IdentityError: the CA is missing or unfit.
    """
    lines: list[str] = []
    if is_present(path / PASSPORT):
        lines += _passport(path, identity, ca)
    if is_present(path / FORGOTTEN):
        lines += _forgotten(path, identity, ca)
    if not lines:
        raise StorageError(
            f"there is nothing to verify in {path}",
            f"it has neither {PASSPORT} nor {FORGOTTEN}",
            f"Make a passport with: python -m server passport {path}",
        )
    return Verified(tuple(lines))


def _passport(path: Path, identity: Path, ca: Path | None) -> Iterable[str]:
    signed = _read(path / PASSPORT, SignedPassport)
    passport = signed.passport
    if signed.signature is None:
        raise _unsigned(path / PASSPORT, signed.unsigned)
    trusted = trusted_by(identity, ca)
    _check_signature("passport", passport, signed.signature, trusted)
    for node, part in passport.owners.items():
        if part.countersigned is not None:
            check_countersignature(part.countersigned, node, passport, part, trusted)
    _check_folder(path, passport)
    yield f"passport: signed by coordinator {passport.coordinator} at {passport.at}"
    yield f"model: as signed, {passport.model[:16]}..., after {passport.rounds} rounds"
    for node, part in sorted(passport.owners.items()):
        if part.countersigned is None:
            yield f"{node}: NOT countersigned: {part.missing or 'nobody asked'}"
            continue
        seen = "and measured the model" if part.countersigned.says.has_measured else "no more"
        yield f"{node}: countersigned; trained in {len(part.rounds)} rounds, {seen}"


def _check_folder(path: Path, passport: Passport) -> None:
    """The folder is the one that the passport speaks of, file by file, and number by number."""
    if set(passport.files) != set(FILES):
        raise NotProven("the passport does not speak for the files of a run folder")
    for name, digest in passport.files.items():
        if file_digest(path / name) != digest:
            raise NotProven(f"{path / name} is not the file that the passport speaks for")
    saved = load(path)
    if state_digest(saved.state).hex() != passport.model:
        raise NotProven(f"the model in {path} is not the one of the passport")
    if recipe_digest(saved.recipe.to_json()).hex() != passport.recipe_digest:
        raise NotProven(f"the recipe in {path} is not the one of the passport")
    card = path / CARD
    if is_present(card) and read_bytes(card) != model_card(passport).encode():
        raise NotProven(f"{card} does not say what the passport says")


def _forgotten(path: Path, identity: Path, ca: Path | None) -> Iterable[str]:
    signed = _read(path / FORGOTTEN, SignedForgotten)
    said = signed.forgotten
    if signed.signature is None:
        raise _unsigned(path / FORGOTTEN, signed.unsigned)
    _check_signature("forgotten", said, signed.signature, trusted_by(identity, ca))
    values, settings = read_settings(path)
    found = {
        "run": (values["run"], said.run_after),
        "model": (state_digest(load(path).state).hex(), said.model_after),
        "recipe": (recipe_digest(settings.recipe.to_json()).hex(), said.recipe_digest),
        "seed": (settings.seed, said.seed),
        "owners": (sorted(node.id for node in settings.nodes), sorted(said.owners)),
    }
    for what, (there, signed_for) in found.items():
        if there != signed_for:
            raise NotProven(f"{path / FORGOTTEN} is not of this run", f"it is of another {what}")
    took_part = {part.node for one in read_rounds(path) for part in one.nodes}
    if said.owner in took_part | set(said.owners):
        raise NotProven(f"{said.owner} is not out of the run in {path}")
    yield f"forgotten: {said.owner}, signed by coordinator {said.coordinator} at {said.at}"
    yield f"trained again from seed {said.seed} by {', '.join(said.owners)} alone"


def _check_signature(
    purpose: Purpose, said: Passport | Forgotten, signature: Signature, trusted: Trusted
) -> None:
    if said.coordinator is None:
        raise NotProven("what is signed names no coordinator who signed it")
    name = Name("coordinator", said.coordinator)
    trusted.check(purpose, said.model_dump(), signature, name, said.moment)


def _read(path: Path, table: type[Table]) -> Table:
    """Raises NotProven where it is not what was written, StorageError where it cannot be read."""
    try:
        return table.model_validate(parse_json(read_bytes(path, MAX_BYTES)))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise NotProven(f"{path} was changed", f"{where}: {error.errors()[0]['msg']}") from error
    except ValueError as error:
        raise NotProven(f"{path} was changed", str(error)) from error


def _unsigned(path: Path, why: str) -> NotProven:
    return NotProven(
        f"{path} is unsigned",
        " ".join(why.split())[:300] or "it does not say why",
        "docs/two-machines.md shows how a federation gets its certificates.",
    )
