"""Sealed sessions: shares that nodes tell each other through a coordinator who cannot read them.

A session has four parts: two holders of shares, a provider of triples, and the owner of the
messages that are scored, who may be a holder. Each node makes a key for this session and signs it
with that of its certificate; each looks at all the others' before anything is sealed. All keys are
bound to the session's context and to everybody's keys: nodes that were told different things
cannot read each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, ClassVar, NamedTuple, Self

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import Field, model_validator

from shared.identity.certificates import key_fingerprint
from shared.secure_aggregation.canonical import Canonical, Digest, digest, verify
from shared.secure_aggregation.key_agreement import PrivateKey, check_order, derive
from shared.secure_aggregation.messages import MAX_CERTIFICATE, OwnerId, PublicKey
from shared.secure_aggregation.trust import Trust
from shared.secure_aggregation.violation import Violation

TAG_BYTES = 16
"""By which what is sealed is longer."""
MAX_PARTIES = 4


class SealedContext(Canonical):
    """What a session is, and who has which part in it.

    session: drawn by the coordinator. holders: of shares, the first one first. provider: of
    triples. owner: of the messages. recipe: SHA-256 of the recipe's JSON.
    """

    kind: ClassVar[str] = "context of a sealed session"
    max_bytes: ClassVar[int] = 1024

    session: Annotated[bytes, Field(min_length=16, max_length=16)]
    holders: Annotated[tuple[OwnerId, ...], Field(min_length=2, max_length=2)]
    provider: OwnerId
    owner: OwnerId
    recipe: Digest

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        if len({*self.holders, self.provider}) != 3:
            raise ValueError("holders and provider are not three")
        if self.owner == self.provider:
            raise ValueError("a provider of triples has no messages in it")
        return self

    @property
    def parties(self) -> tuple[str, ...]:
        """Everybody's id, sorted."""
        return tuple(sorted({*self.holders, self.provider, self.owner}))


class SealedKey(Canonical):
    """Signed, node to coordinator: its public key (X25519), made for this session.

    context: a SealedContext's bytes. certificate: DER.
    """

    kind: ClassVar[str] = "key of a sealed session"
    max_bytes: ClassVar[int] = MAX_CERTIFICATE + SealedContext.max_bytes + 256

    context: Annotated[bytes, Field(max_length=SealedContext.max_bytes)]
    party: OwnerId
    certificate: Annotated[bytes, Field(max_length=MAX_CERTIFICATE)]
    key: PublicKey


class Party(NamedTuple):
    """Somebody whose key was looked at; fingerprint: of the certificate's key."""

    public: bytes
    fingerprint: str


def read_keys(
    signed: Sequence[bytes], context: SealedContext, trust: Trust, now: datetime
) -> dict[str, Party]:
    """Everybody's keys, in the order of SealedContext.parties.

    Raises:
        Violation: one is malformed, of another session, of somebody who cannot be believed, or
            not signed by them; one is missing, or stands there twice.
    """
    found: dict[str, Party] = {}
    for one in signed:
        key, body, signature = SealedKey.read_signed(one)
        if key.context != context.pack():
            raise Violation("roster", f"the key of {key.party} is for another session")
        signer = trust.node_key(key.certificate, key.party, now)
        verify(signer, body, signature, f"the key of {key.party}")
        check_order(key.key, key.party)
        found[key.party] = Party(key.key, key_fingerprint(signer))
    publics = {one.public for one in found.values()}
    if tuple(found) != context.parties or len(signed) != len(found):
        raise Violation("roster", "the keys are not one of each party, in their order")
    if len(publics) != len(found):
        raise Violation("fresh_keys", "one public key stands there twice")
    return found


def common_secrets(
    own: PrivateKey, signed: Sequence[bytes], parties: Mapping[str, Party]
) -> dict[str, bytes]:
    """What a node has in common with each party, itself among them, bound to everybody's keys."""
    everybody = digest(msgpack.packb(tuple(signed)))
    return {
        name: derive(own.agree(party.public, name), "sealed session", everybody)
        for name, party in parties.items()
    }


class Unreadable(ValueError):
    """What was not sealed by whom it should be, or for this, or not for this node."""


class Seal:
    """What one node seals and opens in one session (ChaCha20-Poly1305, RFC 8439).

    What one party seals for another, for one purpose, is opened in its order, and each of it once.

    Args:
        own: its id.
        common: secrets by the others' ids, as `common_secrets` gives them.
    """

    def __init__(self, own: str, common: Mapping[str, bytes]) -> None:
        self._own = own
        self._common = common
        self._sealed: Counter[tuple[str, str]] = Counter()
        self._opened: Counter[tuple[str, str]] = Counter()

    def seal(self, to: str, purpose: str, about: object, data: bytes) -> bytes:
        """The data for one party, TAG_BYTES longer.

        Args:
            about: what the other side must know to open it: sizes, texts.

        Raises:
            Unreadable: nobody of that id has a part in the session.
        """
        cipher, number = self._cipher(self._own, to, purpose), self._sealed[to, purpose]
        self._sealed[to, purpose] += 1
        return cipher.encrypt(_nonce(number), data, msgpack.packb(about))

    def open(self, of: str, purpose: str, about: object, sealed: bytes) -> bytes:
        """Raises Unreadable where it is not what this party sealed next, for just this."""
        cipher, number = self._cipher(of, self._own, purpose), self._opened[of, purpose]
        try:
            data = cipher.decrypt(_nonce(number), sealed, msgpack.packb(about))
        except InvalidTag:
            raise Unreadable(f"it is not what {of} sealed next for this") from None
        self._opened[of, purpose] += 1
        return data

    def _cipher(self, of: str, to: str, purpose: str) -> ChaCha20Poly1305:
        other = to if of == self._own else of
        if other not in self._common:
            raise Unreadable(f"{other} has no part in this session")
        return ChaCha20Poly1305(derive(self._common[other], purpose, of, to))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
