"""The secure sums that a node takes part in, from their keys to their opening.

A sum belongs to the coordinator that began it and to a round of its run; it outlives connections,
so that whoever comes back over a new one is answered what was answered before. A node that is
started anew holds none: of sums that go on it is a lost owner.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.kinds import Sum
from shared.secure_aggregation.masks import add_mask
from shared.secure_aggregation.messages import Context
from shared.secure_aggregation.trust import Signer
from shared.secure_aggregation.violation import Rule, Violation
from shared.wire.commands import SumStepCommand
from worker_node.secure_aggregation.masked_rounds import MaskedRounds
from worker_node.secure_aggregation.owner import Owner
from worker_node.secure_aggregation.refusing import refusing
from worker_node.secure_aggregation.terms import Terms

MAX_RUNS = 2
"""Runs of one coordinator whose sums are remembered; of each, one round that was masked, and the
next."""
_BOUND: tuple[Rule, ...] = ("rounds", "recipe", "state")

log = logging.getLogger("fedsms.node")


class SumId(NamedTuple):
    """Which sum: of whose run, of which round, and which of that round's."""

    peer: str
    run: str
    round: int
    sum: Sum


@dataclass(eq=False)
class _Part:
    """One sum. lock: its steps come one after another, each beside the event loop.

    spoiling: what numbers are drawn from that nobody can read; it never leaves.
    """

    owner: Owner
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    spoiling: bytes = field(default_factory=lambda: secrets.token_bytes(32))


class SecureSums:
    """A node's sums.

    Args:
        signer: reads the node's certificate, key and list of revoked certificates, for each sum
            anew: a renewal counts at once.
        terms: the owner's.
        rounds: what was masked before.
    """

    def __init__(self, signer: Callable[[], Signer], terms: Terms, rounds: MaskedRounds) -> None:
        self._signer = signer
        self._terms = terms
        self._rounds = rounds
        self._runs: dict[tuple[str, str], dict[tuple[int, Sum], _Part]] = {}

    async def keys(self, peer: str, context: Context) -> bytes:
        """The owner's signed Keys for a sum, which begins with the first call.

        A sum of which no numbers have left yet may begin anew for another state or recipe: a
        coordinator that lost a round comes back with the one before.

        Raises:
            PolicyRefused: numbers have left for the round, from another state or recipe.
            IdentityError, StorageError: the node's own certificate or key cannot be read.
        """
        parts = self._of_run(peer, context.run, context.round)
        part = parts.get((context.round, context.sum))
        if part is not None and part.owner.has_masked:
            _check_bound(part.owner, {name: getattr(context, name) for name in _BOUND})
        if part is None or part.owner.context != context:
            signer = await asyncio.to_thread(self._signer)
            part = _Part(Owner(signer, context, self._terms, self._rounds))
            parts[context.round, context.sum] = part
        return part.owner.keys()

    async def step(self, peer: str, command: SumStepCommand) -> bytes:
        """Takes a message of the coordinator's, and gives the owner's next; b"" where none is due.

        Raises:
            PolicyRefused: by rule of docs/privacy.md.
        """
        part = self._part(SumId(peer, command.run, command.round, command.sum))
        async with part.lock:
            return await asyncio.to_thread(_take, part.owner, command)

    def require_ready(self, which: SumId, facts: Mapping[str, object]) -> None:
        """Raises PolicyRefused unless a vector may be masked now that is of just this.

        Args:
            facts: what it would be of, as the node itself knows it: values by the names of a
                Context's fields.
        """
        owner = self._part(which).owner
        _check_bound(owner, facts)
        with refusing():
            if not owner.knows_dealers:
                raise Violation("order", "nobody's shares have come")

    def spoiled(self, which: SumId, size: int) -> Ring:
        """Numbers (size,) with which the sum is nothing that can be read; the same ones again.

        For an owner that has none to add: with a state made for it, that it fails would tell what
        its rows have, and whose they are. So its vector comes as any other, and the sum says that
        somebody's did not fit into it, and no more.
        """
        numbers = np.zeros(size, np.uint64)
        add_mask(numbers, self._part(which).spoiling, 1)
        return numbers

    async def mask(self, which: SumId, numbers: Ring, measured: bytes | None = None) -> bytes:
        """The masked vector, as Masked encodes it; `require_ready` has said yes to it.

        Args:
            numbers: (N,), not changed.
            measured: as of Owner.mask.

        Raises:
            PolicyRefused: by rule. StorageError: the round cannot be noted.
        """
        part = self._part(which)
        async with part.lock:
            masked = await asyncio.to_thread(part.owner.mask, numbers, measured)
        self._forget_before(which)  # vectors are large
        return masked

    def _forget_before(self, which: SumId) -> None:
        parts = self._runs.get((which.peer, which.run), {})
        for old in [key for key in parts if key[0] < which.round]:
            del parts[old]

    def _of_run(self, peer: str, run: str, number: int) -> dict[tuple[int, Sum], _Part]:
        """A run's sums of rounds beside this one; others are forgotten, as older runs are."""
        parts = self._runs.pop((peer, run), {})
        kept = {key: part for key, part in parts.items() if abs(key[0] - number) <= 1}
        self._runs[peer, run] = kept
        of_peer = [key for key in self._runs if key[0] == peer]
        for oldest in of_peer[:-MAX_RUNS]:
            del self._runs[oldest]
        return kept

    def _part(self, which: SumId) -> _Part:
        part = self._runs.get((which.peer, which.run), {}).get((which.round, which.sum))
        if part is None:
            with refusing():
                why = "this node has no keys for it: it was started anew, or the sum is over"
                raise Violation("order", why)
        return part


def _check_bound(owner: Owner, facts: Mapping[str, object]) -> None:
    """Raises PolicyRefused where numbers would be of something else than the keys are for."""
    with refusing():
        for name in _BOUND:
            if name in facts and getattr(owner.context, name) != facts[name]:
                raise Violation(name, f"the keys of this sum are for another {name}")


def _take(owner: Owner, command: SumStepCommand) -> bytes:
    match command.step:
        case "share":
            return owner.share(command.data)
        case "receive":
            owner.receive(command.data)
            if owner.unreadable:
                log.warning("unreadable shares in a secure sum: %s", ", ".join(owner.unreadable))
            return b""
        case "agree":
            return owner.agree(command.data)
        case "open":
            return owner.open(command.data)
