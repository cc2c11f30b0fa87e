"""The messages of one secure sum, in the order in which they travel.

Each owner speaks with the coordinator alone; docs/privacy.md shows who sends what when. Ids stand
sorted wherever there are several, so that one set has one encoding.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from shared.identity.names import NODE_ID_PATTERN
from shared.secure_aggregation.canonical import MAX_OWNERS, Canonical, Digest
from shared.secure_aggregation.kinds import Sum
from shared.secure_aggregation.merkle import MAX_PATH
from shared.secure_aggregation.shamir import SHARE_BYTES

OwnerId = Annotated[str, Field(pattern=f"^{NODE_ID_PATTERN}$")]
Share = Annotated[bytes, Field(min_length=SHARE_BYTES, max_length=SHARE_BYTES)]
PublicKey = Annotated[bytes, Field(min_length=32, max_length=32)]
MAX_CERTIFICATE = 4096


def _sorted(ids: tuple[str, ...]) -> tuple[str, ...]:
    if list(ids) != sorted(set(ids)):
        raise ValueError("ids are not sorted, or one stands twice")
    return ids


Ids = Annotated[tuple[OwnerId, ...], Field(max_length=MAX_OWNERS), AfterValidator(_sorted)]


class Context(Canonical):
    """What a sum is for. Keys, and by them shares and masks, are bound to all of it.

    rounds: of the run; with `round` it says where in its schedule a training stands.
    sum: an owner's training or its held-out counts; each has keys of its own.
    state: SHA-256 of the state that the round begins with, as the node itself holds it.
    recipe: SHA-256 of the recipe's JSON.
    """

    kind: ClassVar[str] = "context"
    max_bytes: ClassVar[int] = 512

    run: Annotated[str, Field(min_length=1, max_length=64)]
    round: Annotated[int, Field(ge=1, lt=2**31)]
    rounds: Annotated[int, Field(ge=1, lt=2**31)]
    sum: Sum
    state: Digest
    recipe: Digest


class Keys(Canonical):
    """Signed, owner to coordinator: an owner's two public keys (X25519), made for this sum.

    context: a Context's bytes. certificate: DER.
    mask_key: pairs of these make the masks; its private half is shared, for if the owner is lost.
    share_key: pairs of these seal the shares; its private half never leaves.
    seed_hash: digest of the seed of the owner's own mask, by which an opened one is known.
    """

    kind: ClassVar[str] = "keys"
    max_bytes: ClassVar[int] = MAX_CERTIFICATE + 1024

    context: Annotated[bytes, Field(max_length=Context.max_bytes)]
    owner: OwnerId
    certificate: Annotated[bytes, Field(max_length=MAX_CERTIFICATE)]
    mask_key: PublicKey
    share_key: PublicKey
    seed_hash: Digest


class Roster(Canonical):
    """Coordinator to all: the signed Keys of every owner of the sum, sorted by id."""

    kind: ClassVar[str] = "roster"
    max_bytes: ClassVar[int] = MAX_OWNERS * (Keys.max_bytes + 256)

    keys: Annotated[
        tuple[Annotated[bytes, Field(max_length=Keys.max_bytes + 256)], ...],
        Field(max_length=MAX_OWNERS),
    ]


class Envelope(Canonical):
    """One owner's shares of the dealer's two secrets.

    Its seal is what its holder believes: dealer and holder alone can make it. The dealer's
    signature of all its envelopes (Dealing) says whose fault it is where a seal does not hold.

    roster: digest of the Roster. sealed: both shares, for the holder alone.
    seed_hash, key_hash: digests of the shares, by which opened ones are known.
    """

    kind: ClassVar[str] = "envelope"
    max_bytes: ClassVar[int] = 512

    roster: Digest
    dealer: OwnerId
    holder: OwnerId
    seed_hash: Digest
    key_hash: Digest
    sealed: Annotated[bytes, Field(max_length=128)]


_Envelope = Annotated[bytes, Field(max_length=Envelope.max_bytes)]


class Dealing(Canonical):
    """Signed by a dealer: the root of the tree of its Envelopes, in the roster's order."""

    kind: ClassVar[str] = "dealing"
    max_bytes: ClassVar[int] = 256

    roster: Digest
    dealer: OwnerId
    root: Digest


_Dealing = Annotated[bytes, Field(max_length=Dealing.max_bytes + 256)]


_Delivered = tuple[_Envelope, Annotated[bytes, Field(max_length=MAX_PATH)], _Dealing]


class Dealt(Canonical):
    """Owner to coordinator: its Envelopes, one for each owner of the roster, in order.

    dealing: the signed Dealing of them.
    """

    kind: ClassVar[str] = "dealt"
    max_bytes: ClassVar[int] = MAX_OWNERS * (Envelope.max_bytes + 16) + Dealing.max_bytes + 256

    envelopes: Annotated[tuple[_Envelope, ...], Field(max_length=MAX_OWNERS)]
    dealing: _Dealing


class Delivery(Canonical):
    """Coordinator to one owner: the Envelopes for it, sorted by dealer.

    Who dealt is who can be in the sum: masks run between these.
    envelopes: each with its path in its dealer's tree (merkle.py) and the dealer's signed Dealing.
    """

    kind: ClassVar[str] = "delivery"
    max_bytes: ClassVar[int] = MAX_OWNERS * (
        Envelope.max_bytes + MAX_PATH + Dealing.max_bytes + 256 + 16
    )

    envelopes: Annotated[tuple[_Delivered, ...], Field(max_length=MAX_OWNERS)]


class Masking(Canonical):
    """What masks are bound to. It does not travel; its digest does.

    roster: digest of the Roster. dealers: who dealt.
    measured: SHA-256 of the state that the summed numbers are of: for a training the context's, for
        an evaluation that of the state that is measured.
    """

    kind: ClassVar[str] = "masking"
    max_bytes: ClassVar[int] = 2**14

    roster: Digest
    dealers: Ids
    measured: Digest


class Masked(Canonical):
    """Owner to coordinator: its masked vector, little-endian numbers of 8 bytes.

    masking: digest of the Masking.
    """

    kind: ClassVar[str] = "masked"
    max_bytes: ClassVar[int] = 128  # beside the numbers

    masking: Digest
    owner: OwnerId
    numbers: bytes


class Proposal(Canonical):
    """Coordinator to survivors: whose masked vectors are in the sum, and who dealt and is lost."""

    kind: ClassVar[str] = "proposal"
    max_bytes: ClassVar[int] = 2**14

    masking: Digest
    survivors: Ids
    lost: Ids


class Statement(Canonical):
    """Signed by a survivor: the one Proposal, by its digest, that it opens."""

    kind: ClassVar[str] = "statement"
    max_bytes: ClassVar[int] = 128

    proposal: Digest
    owner: OwnerId


class Agreement(Canonical):
    """Coordinator to survivors: the signed Statements of them, sorted by owner."""

    kind: ClassVar[str] = "agreement"
    max_bytes: ClassVar[int] = MAX_OWNERS * (Statement.max_bytes + 256)

    statements: Annotated[
        tuple[Annotated[bytes, Field(max_length=Statement.max_bytes + 256)], ...],
        Field(max_length=MAX_OWNERS),
    ]


class Opening(Canonical):
    """Owner to coordinator: for each dealer one share, of a survivor's seed or a lost one's key.

    Dealers whose envelope could not be read are left out.
    """

    kind: ClassVar[str] = "opening"
    max_bytes: ClassVar[int] = MAX_OWNERS * (SHARE_BYTES + 96)

    proposal: Digest
    owner: OwnerId
    shares: Annotated[tuple[tuple[OwnerId, Share], ...], Field(max_length=MAX_OWNERS)]
