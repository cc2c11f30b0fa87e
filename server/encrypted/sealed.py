"""Shares between nodes that tell each other things which their coordinator cannot read.

The same program as in secret.py and scorer.py runs, but for its products: triples, and what is
opened in between, travel sealed from node to node (shared/pointers/sealed_sessions.py).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from server.encrypted.secret import SCALE, Parties, Secret
from server.nodes.addresses import parse_node
from server.pointers.api import close_workers, dial_workers, in_loop
from server.pointers.client import PointerClient
from shared.errors import UsageError
from shared.identity.folder import DEFAULT
from shared.model.recipe import Recipe
from shared.pointers.sealed_sessions import SealedContext
from shared.pointers.tensor_operations import SEALED
from shared.pysyft import sharing
from shared.secure_aggregation.contents import recipe_digest


@dataclass(frozen=True)
class SealedParties(Parties):
    """The same of a sealed session.

    owner: of the messages; a holder, or a fourth.
    """

    owner: Any

    def secret(self, parts: Iterable[Any], shape: Sequence[int]) -> SealedSecret:
        return SealedSecret(self, parts, shape)

    @property
    def workers(self) -> list[Any]:
        """Each node once."""
        return list({one.id: one for one in (*self.holders, self.provider, self.owner)}.values())

    @property
    def most_bytes(self) -> int:
        """Of a message that each node takes; 0 where none of them says."""
        said = [one.link.greeting.most_bytes for one in self.workers]
        return min((most for most in said if most), default=0)


class SealedSecret(Secret):
    """A shared tensor of a sealed session; nobody but the messages' owner can open one."""

    parties: SealedParties

    def open(self) -> np.ndarray[Any, Any]:
        raise UsageError(
            "a coordinator does not open what is shared in a sealed session",
            next_step="Its result goes to the owner of the messages: reveal() it.",
        )

    def _multiplied(self, name: str, other: Secret, shape: torch.Size) -> list[Any]:
        parties = self.parties
        sizes = [("t", *one.shape) for one in (self, other)]
        packets = _from_one(parties.provider, "triple", name, *sizes)
        told = [
            _run(holder, "mask", x, y, sharing.send(packet, holder), name)
            for holder, x, y, packet in zip(
                parties.holders, self.parts, other.parts, packets, strict=True
            )
        ]
        # each holder is handed what the other one sealed for it
        swapped = reversed(sharing.fetch_all(told))
        return [
            _run(holder, "product", sharing.send(packet, holder), shape=shape)
            for holder, packet in zip(parties.holders, swapped, strict=True)
        ]

    def reveal(self, first: int) -> Any:
        """Has the owner open logits (rows, 1) of its messages from place `first` on.

        Gives probabilities (rows,) where the owner tells them, else None.
        """
        parties = self.parties
        rows = self.shape[0]
        sealed = [
            _run(holder, "reveal", part)
            for holder, part in zip(parties.holders, self.parts, strict=True)
        ]
        packets = [sharing.send(one, parties.owner) for one in sharing.fetch_all(sealed)]
        learned = _run(parties.owner, "learn", *packets, first, rows, SCALE)
        (told,) = sharing.fetch_all([learned])
        thousandths = np.array(told.tolist(), np.float64)
        return None if thousandths.tolist() == [-1] else thousandths / 1000


def digits_of(parties: SealedParties, rows: range, tokens: int, low: int, which: str) -> Secret:
    """The owner's words' digits, as rows of one 1, shared by the owner's own node.

    Shapes: "low" (words, low), "high" (words, 1, digits above). Whole numbers, not scaled.
    """
    words = len(rows) * tokens
    packets = _from_one(parties.owner, "rows", rows.start, rows.stop, low, which)
    size = (packets[0].numel() - 16) // 8 // words
    shape = (words, size) if which == "low" else (words, 1, size)
    parts = [
        _run(holder, "take", sharing.send(packet, holder), which, ("t", *shape))
        for holder, packet in zip(parties.holders, packets, strict=True)
    ]
    return parties.secret(parts, shape)


def _from_one(node: Any, name: str, *arguments: Any) -> list[Any]:
    """A node's packets for the first and the second holder."""
    (both,) = sharing.fetch_all([_run(node, name, *arguments)])
    half = both.numel() // 2
    return [both[:half].clone(), both[half:].clone()]


def _run(node: Any, name: str, *arguments: Any, shape: Sequence[int] | None = None) -> Any:
    """A sealed operation's remote result; tensors among the arguments are at the node."""
    return sharing.run_with(node, SEALED + name, shape, *arguments)


@contextmanager
def sealed_session(
    nodes: Sequence[str],
    owner: str,
    recipe: Recipe,
    pipeline: bool = True,
    identity: Path = DEFAULT,
    insecure: bool = False,
) -> Iterator[SealedParties]:
    """A session in which an owner's messages are scored, for the time of the block.

    Args:
        nodes: ID=URL of two holders and the provider, and of the owner where it is a fourth.
        owner: id of the node whose messages they are.

    Raises:
        UsageError: these are not such nodes, or an address is none. NodeUnreachable,
            HandshakeRefused: no such node. NodeFailed: one has no certificate. PolicyRefused: its
            owner does not allow it, or a node does not take another's key.
    """
    ids = [parse_node(node).id for node in nodes]
    _check_parties(ids, owner)
    workers = dial_workers(nodes, pipeline, identity, insecure)
    try:
        by_id = dict(zip(ids, workers, strict=True))
        parties = SealedParties((workers[0], workers[1]), workers[2], by_id[owner])
        context = SealedContext(
            session=secrets.token_bytes(16),
            holders=(ids[0], ids[1]),
            provider=ids[2],
            owner=owner,
            recipe=recipe_digest(recipe.to_json()),
        )
        in_loop(_exchange_keys([by_id[one] for one in context.parties], context, recipe))
        yield parties
    finally:
        close_workers(workers)


def _check_parties(ids: Sequence[str], owner: str) -> None:
    """Raises UsageError where they are not two holders, a provider and the owner."""
    fourth = len(ids) == 4 and ids[3] == owner
    holds = len(ids) == 3 and owner in ids[:2]
    if len(set(ids)) != len(ids) or not (fourth or holds):
        raise UsageError(
            f"messages of {owner} cannot be scored by {', '.join(ids) or 'nobody'}",
            "it takes two nodes that hold shares and then one that makes triples; the owner of the "
            "messages is one of the first two, or a fourth",
            f"For example --messages-of {owner} --node {owner}=URL --node anne=URL "
            "--node carol=URL",
        )


async def _exchange_keys(
    workers: Sequence[PointerClient], context: SealedContext, recipe: Recipe
) -> None:
    packed = context.pack()
    keys = await asyncio.gather(*(one.open_sealed(packed, recipe) for one in workers))
    await asyncio.gather(*(one.join_sealed(keys) for one in workers))
