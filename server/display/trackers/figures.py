"""What trackers show of a round: names and numbers, from the record that everything reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from server.rounds.records import Round

NODE = (
    *("rows", "loss", "held_out_rows", "held_out_loss", "held_out_roc_auc"),
    *("held_out_average_precision", "held_out_f1", "held_out_mcc", "seconds_training"),
    *("seconds_evaluating", "seconds_transfer", "seconds_waiting", "bytes_sent", "bytes_received"),
)
"""A node's figures, by their names in metrics.jsonl."""


def scalars_of(record: Round) -> dict[str, float]:
    """Figures by name: "round/loss" of all nodes together, "node/bob/loss" of one.

    What the round cannot tell is left out, and of a round of which the coordinator saw sums alone,
    all that is of one node.
    """
    *each, total = record.rows()
    found = dict(_numbers("round/", total, set(total) - {"round"}))
    found["round/nodes"] = len(total["nodes"])
    found["round/nodes_left_out"] = len(total["left_out"])
    if not record.is_secure:
        for row in each:
            found |= _numbers(f"node/{row['node']}/", row, NODE)
    return found


def _numbers(
    prefix: str, row: Mapping[str, Any], names: Iterable[str]
) -> Iterable[tuple[str, float]]:
    for name in sorted(names):
        value = row.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield prefix + name, value
