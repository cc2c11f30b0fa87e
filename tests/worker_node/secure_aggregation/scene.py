"""A sum in which somebody tries something on an owner, and how a refusal looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shared.errors import PolicyRefused
from shared.identity.certificates import key_fingerprint
from shared.secure_aggregation.messages import (
    Keys,
    Roster,
)
from tests.helpers.secure_sums import (
    SecureSum,
    signer,
)
from worker_node.secure_aggregation.owner import Owner

BOB, ANNE = "o00", "o01"


@contextmanager
def refused(rule: str) -> Iterator[None]:
    with pytest.raises(PolicyRefused) as caught:
        yield
    assert caught.value.rule == f"secure_aggregation.{rule}"
    assert rule in str(caught.value)
    assert caught.value.exit_code == 10


def keys_of(one: Owner) -> Keys:
    return Keys.read_signed(one.keys())[0]


def roster_with(everybody: SecureSum, *false: bytes, instead_of: str = ANNE) -> bytes:
    """The roster of all, where other bytes stand for one owner's keys."""
    keys = {one: [who.keys()] for one, who in everybody.owners.items()}
    keys[instead_of] = list(false)
    return Roster(keys=tuple(signed for one in sorted(keys) for signed in keys[one])).pack()


def finishes(everybody: SecureSum) -> None:
    """A refusal left everything as it was."""
    assert everybody.result().tolist() == everybody.plain().tolist()


def pinning(*whom: str) -> dict[str, str]:
    return {one: key_fingerprint(signer(one).key.public_key()) for one in whom}
