"""A sealed session's parties in one process, each with its own operations, and no socket."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from shared.pointers.sealed_sessions import Party, Seal, SealedContext, common_secrets
from shared.pointers.tensor_operations import SEALED
from shared.secure_aggregation.key_agreement import PrivateKey
from worker_node.pointers.sealed_operations import Part, SealedOperations

RING = 2**64


def context_of(
    holders: Sequence[str] = ("bob", "anne"), provider: str = "carol", owner: str = "bob"
) -> SealedContext:
    return SealedContext(
        session=secrets.token_bytes(16),
        holders=tuple(holders),
        provider=provider,
        owner=owner,
        recipe=bytes(32),
    )


@dataclass
class Parties:
    """Who takes part; `ask` has one of them run an operation.

    seals: each party's own. learned: what the owner was told. paid: bits.
    """

    context: SealedContext
    seals: dict[str, Seal]
    operations: dict[str, SealedOperations]
    learned: list[tuple[int, list[float]]] = field(default_factory=list)
    paid: list[int] = field(default_factory=list)

    def ask(self, who: str, name: str, *arguments: Any) -> Any:
        return self.operations[who].functions[SEALED + name](*arguments)

    def packets(self, who: str, name: str, *arguments: Any) -> list[Any]:
        """For the first and the second holder."""
        both = self.ask(who, name, *arguments)
        half = both.numel() // 2
        return [both[:half].clone(), both[half:].clone()]

    def product(self, x: Sequence[Any], y: Sequence[Any], name: str) -> list[Any]:
        """Shares of a product, of shares at the holders."""
        sizes = [tuple(one[0].shape) for one in (x, y)]
        packets = self.packets(self.context.provider, "triple", name, *sizes)
        holders = self.context.holders
        told = [
            self.ask(holder, "mask", a, b, packet, name)
            for holder, a, b, packet in zip(holders, x, y, packets, strict=True)
        ]
        return [
            self.ask(holder, "product", packet)
            for holder, packet in zip(holders, reversed(told), strict=True)
        ]


def parties_of(
    context: SealedContext | None = None, ids: Any = None, words: int = 64, tells: bool = False
) -> Parties:
    """A session. Args: ids: of the owner's messages (rows, tokens); words: how many there are."""
    context = context or context_of()
    keys = {name: PrivateKey() for name in context.parties}
    signed = [key.public for key in keys.values()]  # bound to the same bytes is what counts
    known = {name: Party(key.public, "") for name, key in keys.items()}
    found = Parties(context, {}, {})
    for name, key in keys.items():
        seal = found.seals[name] = Seal(name, common_secrets(key, signed, known))
        own = ids if ids is not None and name == context.owner else np.empty((0, 3), np.int64)
        part = Part(name, context, seal, own, words, tells)
        found.operations[name] = SealedOperations(
            part, lambda *one: found.learned.append(one), found.paid.append
        )
    return found


def split(values: Any) -> list[Any]:
    """Shares of a tensor (...) int64, as a coordinator makes them."""
    whole = torch.tensor(values)
    mask = torch.randint(-(2**63), 2**63 - 1, whole.shape)
    return [mask, whole - mask]


def whole_of(shares: Sequence[Any]) -> Any:
    return (shares[0] + shares[1]).tolist()
