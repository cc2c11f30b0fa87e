"""Held-out rows that say almost the same as one that is trained on: they flatter the model."""

from __future__ import annotations

from worker_node.data.near_duplicates import near_in
from worker_node.data.shard import Shard

COMPARED_ROWS = 20_000
"""Comparing so many takes some seconds."""


def near_held_out(shard: Shard) -> int:
    """Held-out rows that say almost the same as a row that is trained on, repeats included.

    0 where there are more than COMPARED_ROWS.
    """
    if not shard.held_out or len(shard.train) + len(shard.held_out) > COMPARED_ROWS:
        return 0
    train, held_out = ([m.text for m in rows] for rows in (shard.train, shard.held_out))
    return near_in(held_out, train)


def near_lines(shard: Shard) -> list[str]:
    """A warning where measuring on the held-out rows flatters the model."""
    near = near_held_out(shard)
    if not near:
        return []
    among = f"{near:,} of {len(shard.held_out):,} held-out messages"
    return [f"{among} say almost the same as one that is trained on: metrics will flatter"]
