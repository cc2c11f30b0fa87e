"""How the rounds of a run go, besides what the recipe says of training."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from server.rounds.cohort import ALL, MinNodes


@dataclass(frozen=True)
class Plan:
    """How the rounds of a run go.

    seed: the same seed, nodes and rows give the same weights, bit for bit.
    run: the run's id; nodes answer a request that is repeated in it from memory.
    min_nodes: how many nodes a round needs of those that it asks.
    cohort: how many nodes a round asks; 0 asks all.
    evaluate_every: rounds from one that is measured to the next; None measures each, and in a
        private run the last one alone.
    resumed: the run was begun by a coordinator before this one, so that nodes may answer its first
        round from memory.
    """

    seed: int
    run: str
    min_nodes: MinNodes = ALL
    cohort: int = 0
    resumed: bool = False
    evaluate_every: int | None = None


def new_run_id() -> str:
    return secrets.token_hex(16)


def node_seed(seed: int, node: str, number: int) -> int:
    """The seed of a node in a round, 0 to 2^63 - 1; a function of the run's seed alone.

    Args:
        number: of the round, from 1; 0 is for what stays the same in all of them.
    """
    digest = hashlib.blake2b(f"{seed}/{node}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
