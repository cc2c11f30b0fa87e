"""Operations on tensors: on this owner's rows, and on shares of what others keep secret."""

from __future__ import annotations

from pydantic import Field

from worker_node.guarding.rules.table import CoordinatorName, OwnerName, Table

BITS_A_NUMBER = 72
"""Of a number that is fetched alone: value, type, whether it failed, and when the answer came."""


class PointerBounds(Table):
    """What leaves in pointer mode, of all that is computed from the rows there."""

    gradients: bool = Field(
        True,
        description="Give back gradients, and parameters that a step has changed. Without them\n"
        "nothing can be trained. With them a malicious coordinator can read the rows, and so\n"
        "nothing that leaves is counted.",
    )
    numbers: int = Field(
        100_000,
        ge=0,
        description="With gradients = false: how much a day may be told of what is computed from\n"
        "rows, for all coordinators together, in numbers. A number is 72 bits: a fetched one\n"
        "takes 68, and each frame of commands 4, for whether it failed and when it was\n"
        "done. Sizes take 264 bits, and counts of scores 13 a row. What takes more than is left\n"
        "is not run.",
    )
    megabytes: int = Field(
        4096,
        ge=256,
        description="Memory that one session may take; an operation that wants more fails.",
    )
    seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds that the operations of one frame, some hundred, may take. A session\n"
        "that wants more is ended.",
    )


class SharedBounds(Table):
    """Mode "shared": computing on shares of what others keep secret, without any of your rows."""

    coordinators: tuple[CoordinatorName, ...] = Field(
        (),
        strict=False,
        description="Names of the coordinators that may; empty allows nobody. They must be let in\n"
        "besides, as for everything. Without TLS a name is what somebody calls himself.",
    )
    messages_with: tuple[OwnerName, ...] = Field(
        (),
        strict=False,
        description="Nodes between which your held-out messages may be shared, to be scored by a\n"
        "model that you do not see; empty shares them with nobody. You compared their keys with\n"
        "their owners: python -m worker_node peers keeps the fingerprints. Two of them who work\n"
        "together can read the messages.",
    )
    tells_scores: bool = Field(
        False,
        description="Tell the coordinator the scores of your messages, in thousandths, and not\n"
        "you alone. A model that is made for it can tell ten bits of a message by its score.",
    )
    megabytes: int = Field(1024, ge=256, description="Memory that one session may take.")
    seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds that the operations of one frame, some hundred, may take.",
    )
