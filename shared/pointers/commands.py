"""The worker commands of pointer mode, as both sides see them.

Those of rounds stand in shared/wire/commands.py.

They travel as those do. An `open` comes first, and it is where an owner who does not allow it says
so: `open_pointers` says with which recipe's words the owner's rows are to be found by tag, and
`open_shared` opens a session that has no rows, for shares of what others keep secret. A sealed one,
whose coordinator is not trusted, begins with `open_sealed`, which is answered with the node's key,
and `join_sealed`, which has everybody's (sealed_sessions.py).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shared.pointers.sealed_sessions import MAX_PARTIES, SealedContext, SealedKey
from shared.wire.commands import ObjectId, WireTable

OPEN_POINTERS = "open_pointers"
OPEN_SHARED = "open_shared"
OPEN_SEALED = "open_sealed"
JOIN_SEALED = "join_sealed"
SUMMARISE = "summarise_scores"

TRAIN_TAG = "#train"
TEST_TAG = "#test"
INPUTS_TAG = "#inputs"
LABELS_TAG = "#labels"


class OpenPointers(WireTable):
    """Begin a session of pointer operations.

    recipe: as JSON; its text settings say how messages become rows of ids.
    seed: of what the node draws for this session, dropout for instance.
    """

    recipe: str = Field(max_length=65_536)
    seed: int = Field(ge=0, lt=2**63)


class OpenShared(WireTable):
    """Begin a session of pointer operations without any of the owner's rows."""


class OpenSealed(WireTable):
    """Make a key for a sealed session.

    context: a SealedContext's bytes.
    recipe: as JSON; its text settings say how the owner's messages become rows of ids.
    """

    context: bytes = Field(max_length=SealedContext.max_bytes)
    recipe: str = Field(max_length=65_536)


class SealedKeyReport(WireTable):
    """A SealedKey, signed."""

    key: bytes = Field(max_length=SealedKey.max_bytes + 256)


class JoinSealed(WireTable):
    """Begin a sealed session: everybody's signed SealedKey, by their ids."""

    keys: list[bytes] = Field(max_length=MAX_PARTIES)


class SummariseScores(WireTable):
    """Count scores by bin and label, as after EVALUATE; answered with an EvaluateReport.

    logits, labels: ids of float32 tensors (rows,); laid end to end, as many scores as labels.
    """

    logits: Annotated[list[ObjectId], Field(min_length=1, max_length=1024)]
    labels: Annotated[list[ObjectId], Field(min_length=1, max_length=1024)]
