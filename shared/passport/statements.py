"""What a passport, a countersignature and a statement of forgetting say, as both sides read them.

They are plain JSON on disk. What is not known is left out or None, never made up: nothing here has
an epsilon, since nothing is trained with differential privacy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from shared.identity.names import NODE_ID_PATTERN
from shared.passport.signing import Signature

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hexadecimal."""
Id = Annotated[str, Field(pattern=f"^{NODE_ID_PATTERN}$")]
Text = Annotated[str, Field(max_length=1000)]
MAX_ROUNDS = 100_000
Rounds = Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=MAX_ROUNDS)]


def now_in_words() -> str:
    """`2026-11-22T20:47:15Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Table(BaseModel):
    """A statement or a part of one: frozen, and with no key or type that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


class _Dated(_Table):
    """at: when it was signed, in UTC, by the signer's clock."""

    at: str

    @field_validator("at")
    @classmethod
    def _is_a_moment(cls, text: str) -> str:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - looked at alone
        return text

    @property
    def moment(self) -> datetime:
        return datetime.strptime(self.at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


class Anchor(_Table):
    """How far a node's audit log had got: the number and the SHA-256 of its last line."""

    lines: int = Field(ge=0)
    hash: Digest


class Countersigned(_Dated):
    """A node's word on its own part in a run: what it was told, and found to be so, and its own.

    run, recipe, model: the run's id, digests of the recipe and of the model's numbers.
    rounds: in which it trained. rows: to train on; None where it was told of none.
    has_measured: whether it has measured that very model, or only took part in its making.
    policy: the owner's, as its audit log names it at each start. audit: None without a log.
    """

    node: Id
    coordinator: Id
    run: Annotated[str, Field(min_length=1, max_length=64)]
    recipe: Digest
    model: Digest
    rounds: Rounds
    rows: int | None
    has_measured: bool
    policy: Text
    audit: Anchor | None
    versions: dict[str, Text]


class Countersignature(_Table):
    """What a node signed, and the signature."""

    says: Countersigned
    signature: Signature


class OwnerPart(_Table):
    """One owner in a passport.

    certificate: fingerprint of what its node proved itself with in the run; None without TLS.
    rounds: in which it trained. rows: that it told; empty where it told none.
    metrics: of the last completed round on its held-out rows; None where only a sum is known.
    countersigned: None where it is missing, and then `missing` says why.
    """

    certificate: str | None
    rounds: Rounds
    rows: dict[str, int]
    versions: dict[str, Text] | None
    metrics: dict[str, Any] | None
    countersigned: Countersignature | None = None
    missing: Text = ""


class Passport(_Dated):
    """Where a model comes from.

    model: digest of its numbers, a float32 vector in the order of the recipe's model.
    rounds: completed. metrics: on all owners' held-out rows; None where they were lost.
    own_rule: a script's own aggregation rule; None where the recipe names it.
    files: SHA-256 of the run folder's files by name.
    """

    coordinator: Id | None
    run: Annotated[str, Field(min_length=1, max_length=64)]
    folder: Text
    recipe_name: Text
    recipe: dict[str, Any]
    recipe_digest: Digest
    model: Digest
    seed: int
    mode: Literal["rounds", "pointers"]
    secure_sums: bool
    own_rule: Text | None
    rounds: int = Field(ge=1, le=MAX_ROUNDS)
    metrics: dict[str, Any] | None
    owners: dict[Id, OwnerPart]
    versions: dict[str, Text]
    files: dict[Text, Digest]


class Forgotten(_Dated):
    """That an owner is out: a model was trained anew from the same seed without it.

    before, after: run id and digest of the model's numbers, with the owner and without.
    distance: between the two, of their numbers as vectors.
    metrics: of both models on the remaining owners' held-out rows, measured by the same nodes at
        the same time: by owner, "*" for all; by owner there is nothing with secure sums.
    rows: that each remaining owner told, before and after; a model of other rows differs for that.
    """

    coordinator: Id | None
    owner: Id
    run_before: str = Field(min_length=1, max_length=64)
    model_before: Digest
    run_after: str = Field(min_length=1, max_length=64)
    model_after: Digest
    recipe_digest: Digest
    seed: int
    owners: list[Id]
    distance: dict[str, float]
    metrics: dict[str, dict[Literal["before", "after"], dict[str, Any]]]
    rows: dict[Id, dict[Literal["before", "after"], dict[str, int]]]
    versions: dict[str, Text]
