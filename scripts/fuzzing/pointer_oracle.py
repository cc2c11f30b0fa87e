"""Whether a frame's answers on two owners' rows differ in more than what was paid for.

The prices stand here a second time on purpose, as docs/security.md has them: the oracle asks
nothing of the code that it judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from shared.pointers.frames import unpack_answers
from shared.pysyft import BaseDataset, deserialize, make_hook
from worker_node.pointers.session import WHY_IS_NOT_TOLD

ANSWER = 4
PRICES = {"object": 68, "sizes": 264, "results": 16, "same": 0}
NO_MORE = "no more is told today"
_KNOWN_FAILURES = (
    WHY_IS_NOT_TOLD[0],
    "the owner's rows do not leave the node",
    "the owner's policy does not allow this (rule pointers.gradients)",
    "which objects are there may follow from the rows",
)


class RowsWereTold(Exception):
    """What left differs, and was not paid."""


@dataclass(frozen=True)
class Asked:
    """What the coordinator knows of a frame.

    asks: of each answer that it has, what it is to, and the id of an object.
    derived: rows were named, in it or before.
    settled: they were at the answer before this one; else a failure may be older than that.
    gradients: the policy lets gradients and parameters go.
    may_leave: ids of parameters, and of what is made of gradients alone.
    """

    asks: tuple[tuple[str, int], ...]
    derived: bool
    settled: bool
    gradients: bool
    may_leave: frozenset[int]

    @property
    def price(self) -> int:
        return ANSWER + sum(PRICES[what] for what, _ in self.asks)


def compare(asked: Asked, paid: list[int], first: bytes, second: bytes) -> None:
    """Raises RowsWereTold. Args: paid: bits; first, second: the two answers."""
    one, two = unpack_answers(first), unpack_answers(second)
    was_refused = any(told[0] == 1 and told[2] == NO_MORE for told in (one, two))
    if not asked.derived or was_refused:
        if first != second:
            raise RowsWereTold(f"{one} and {two}, unpaid")
        return
    if not asked.gradients and (len(paid) != 1 or paid[0] < asked.price):
        raise RowsWereTold(f"{paid} bits were paid for {asked.asks}")
    if first != second:
        _check_both(asked, one, two)
    elif one[0] == 1 and asked.settled:
        _check_failure(asked, *one[1:4])


def _check_both(asked: Asked, one: tuple[Any, ...], two: tuple[Any, ...]) -> None:
    for told in (one, two):
        if told[0] == 1:
            _check_failure(asked, *told[1:4])
        else:
            for (what, _), part in zip(asked.asks, told[1], strict=True):
                if what == "object":
                    _check_alone(part)
    if one[0] == two[0] == 0:
        for ask, here, there in zip(asked.asks, one[1], two[1], strict=True):
            if here != there:
                _check_differing(asked, *ask, (here, there))


def _check_failure(asked: Asked, number: int, fact: str, cause: str) -> None:
    if not asked.gradients and (number != -1 or not fact.startswith(_KNOWN_FAILURES)):
        raise RowsWereTold(f"a failure of command {number} says {fact}: {cause}")


def _check_alone(part: Any) -> None:
    """Values leave alone."""
    if isinstance(part, tuple):
        if part[2] is not None:
            raise RowsWereTold("a gradient left with its parameter")
        return
    thing = _read(part)
    if not isinstance(thing, BaseDataset) and (thing.grad is not None or thing.tags):
        raise RowsWereTold("a gradient or tags left with a tensor")


def _check_differing(asked: Asked, what: str, object_id: int, parts: tuple[Any, Any]) -> None:
    if what == "object":
        if not (asked.gradients and object_id in asked.may_leave):
            for part in parts:
                _check_number(part)
    elif asked.gradients:
        return
    elif what == "sizes":
        for part in parts:
            sizes = part if isinstance(part, tuple) else (part,)
            if len(sizes) > 8 or any(not 0 <= int(size) < 2**32 for size in sizes):
                raise RowsWereTold(f"sizes of more bits than were paid: {part}")
    elif what == "results":
        shorter, longer = sorted(parts, key=len)
        if longer[: len(shorter)] != shorter or len(longer) >= 2**16:
            raise RowsWereTold("ids of results follow from rows")
    else:
        raise RowsWereTold(f"an answer that has no price differs: {parts}")


def _check_number(part: Any) -> None:
    """One number of at most 64 bits, and nothing about how it was made."""
    thing = None if isinstance(part, tuple) else _read(part)
    if not isinstance(thing, torch.Tensor) or tuple(thing.shape) != () or thing.requires_grad:
        raise RowsWereTold(f"more than a number left: {part!r:.300}")


def _read(part: bytes) -> Any:
    return deserialize(part, make_hook().local_worker)
