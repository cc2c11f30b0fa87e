"""Held-out rows that say almost the same as one that is trained on: they flatter the model."""

from __future__ import annotations

from dataclasses import dataclass

from worker_node.data.near_duplicates import near_in
from worker_node.data.shard import Shard

COMPARED_ROWS = 20_000
"""Comparing so many takes some seconds; of more rows, so many are compared, evenly drawn."""


@dataclass(frozen=True)
class Near:
    """near: of `held_out` rows, those that say almost the same as one of `train` rows, repeats
    included. is_sample: there are more of both."""

    near: int
    held_out: int
    train: int
    is_sample: bool


def near_held_out(shard: Shard) -> Near:
    """How many held-out rows are near to what is trained on, among up to COMPARED_ROWS."""
    rows = len(shard.train) + len(shard.held_out)
    step = max(1, -(-rows // COMPARED_ROWS))
    train, held_out = ([m.text for m in rows[::step]] for rows in (shard.train, shard.held_out))
    near = near_in(held_out, train) if held_out else 0
    return Near(near, len(held_out), len(train), step > 1)


def near_lines(shard: Shard) -> list[str]:
    """A warning where measuring on the held-out rows flatters the model."""
    found = near_held_out(shard)
    if not found.near:
        return []
    flatters = "metrics will flatter"
    if not found.is_sample:
        among = f"{found.near:,} of {found.held_out:,} held-out messages"
        return [f"{among} say almost the same as one that is trained on: {flatters}"]
    among = f"{found.near:,} of {found.held_out:,} held-out messages that were looked at"
    others = f"one of {found.train:,} that are trained on, and more as one of all"
    return [f"{among} say almost the same as {others}: {flatters}"]
