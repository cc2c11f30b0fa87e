"""Makes a model's passport: facts, each node's countersignature, the coordinator's signature."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from server.nodes.addresses import NodeAddress
from server.nodes.reaching import AT_HAND, Reach, reaching
from server.passport.facts import Facts, facts_of
from server.passport.model_card import CARD, model_card
from shared.errors import FedsmsError, NodeFailed, NotProven, one_line
from shared.files import write_whole
from shared.identity import folder as identities
from shared.identity.certificates import Name
from shared.identity.folder import Identity
from shared.passport.signing import Signature, Trusted, sign
from shared.passport.statements import Countersignature, OwnerPart, Passport
from shared.wire.commands import CountersignCommand

PASSPORT = "passport.json"
NO_KEY = (
    "the nodes were reached without TLS, and so there are no certificates: no key signs this, and "
    "nothing proves who made it"
)
MAX_DIALS = 16
"""Nodes that are asked at a time."""


class SignedPassport(BaseModel):
    """passport.json: either signed, or `unsigned` says why not."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    passport: Passport
    signature: Signature | None = None
    unsigned: str = ""


async def make_passport(
    path: Path,
    identity_folder: Path,
    moved: Sequence[NodeAddress] = (),
    vet: Callable[[Sequence[NodeAddress]], object] = lambda nodes: None,
) -> SignedPassport:
    """Writes passport.json and model_card.md into a run folder; what was there is replaced.

    A node that is away, or does not agree, is no error: the passport says why its countersignature
    is missing.

    Args:
        identity_folder: the coordinator's; not read where a node of the run is dialled without TLS.
        moved: new addresses of nodes of the run.
        vet: looks at the addresses before anybody is dialled.

    Raises:
        StorageError: the run folder cannot be used. IdentityError: the identity is unfit.
    """
    identity = _identity(path, identity_folder)
    facts = facts_of(path, identity)
    vet(facts.nodes)
    passport, signature = facts.passport, None
    if identity is not None:
        owners = await _countersigned(facts, identity, moved)
        passport = passport.model_copy(update={"owners": owners})
        signature = sign("passport", passport.model_dump(), identity)
    signed = SignedPassport(
        passport=passport, signature=signature, unsigned="" if signature else NO_KEY
    )
    write_json(path / PASSPORT, signed.model_dump())
    write_whole(path / CARD, model_card(passport, signed.unsigned).encode())
    return signed


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Raises StorageError."""
    write_whole(path, (json.dumps(values, indent=2) + "\n").encode())


def _identity(path: Path, folder: Path) -> Identity | None:
    from server.runs.resume import read_settings

    _, settings = read_settings(path)
    if not all(node.is_secure for node in settings.nodes):
        return None
    return identities.load(folder, "coordinator")


async def _countersigned(
    facts: Facts, identity: Identity, moved: Sequence[NodeAddress]
) -> dict[str, OwnerPart]:
    at = {node.id: node for node in (*facts.nodes, *moved)}
    signing = {node for node, part in facts.passport.owners.items() if part.rounds}
    wanted = [one for node, one in at.items() if node in signing]
    async with reaching(wanted, identity.folder, AT_HAND) as reach:
        return await _asked(facts, identity, at, reach)


async def _asked(
    facts: Facts, identity: Identity, at: Mapping[str, NodeAddress], reach: Reach
) -> dict[str, OwnerPart]:
    turn = asyncio.Semaphore(MAX_DIALS)

    async def one(node: str, part: OwnerPart) -> OwnerPart:
        if not part.rounds:
            return part.model_copy(update={"missing": "it trained in no round"})
        if facts.passport.mode == "pointers":
            return part.model_copy(update={"missing": "pointer operations are no rounds"})
        try:
            async with turn:
                made = await _ask(at[node], facts.passport, part, identity, reach)
        except FedsmsError as error:
            return part.model_copy(update={"missing": one_line(error)[:1000]})
        return part.model_copy(update={"countersigned": made})

    parts = facts.passport.owners
    made = await asyncio.gather(*(one(node, part) for node, part in parts.items()))
    return dict(zip(parts, made, strict=True))


async def _ask(
    address: NodeAddress,
    passport: Passport,
    part: OwnerPart,
    identity: Identity,
    reach: Reach,
) -> Countersignature:
    """One node's countersignature, which was found to be what was asked for."""
    from server.nodes.client import NodeClient

    link = await reach(address)
    try:
        command = CountersignCommand(
            run=passport.run,
            recipe=passport.recipe_digest,
            model=passport.model,
            rounds=part.rounds,
            rows=part.rows.get("train"),
        )
        text = await NodeClient(address.id, link).countersign(command)
    finally:
        await link.close()
    try:
        made = Countersignature.model_validate_json(text)
        trusted = Trusted(identity.ca, identity.crl)
        check_countersignature(made, address.id, passport, part, trusted)
    except (ValidationError, NotProven) as error:
        why = one_line(error) if isinstance(error, NotProven) else "it is malformed"
        raise NodeFailed(f"node {address.id} sent an unfit countersignature", why) from error
    return made


def check_countersignature(
    made: Countersignature, node: str, passport: Passport, part: OwnerPart, trusted: Trusted
) -> None:
    """Raises NotProven where it is not that node's word on its part in this very model."""
    says = made.says
    trusted.check(
        "countersignature", says.model_dump(), made.signature, Name("node", node), says.moment
    )
    told = {
        "node": (says.node, node),
        "coordinator": (says.coordinator, passport.coordinator),
        "run": (says.run, passport.run),
        "recipe": (says.recipe, passport.recipe_digest),
        "model": (says.model, passport.model),
        "rounds": (says.rounds, part.rounds),
        "rows": (says.rows, part.rows.get("train")),
    }
    for what, (signed, wanted) in told.items():
        if signed != wanted:
            raise NotProven(
                f"the countersignature of {node} is not of this passport",
                f"it was given for another {what}",
            )
