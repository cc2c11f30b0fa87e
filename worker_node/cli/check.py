"""What a node would hold, and what it would tell a coordinator of it."""

from __future__ import annotations

import json

from shared.model.text import tokeniser_fingerprint
from shared.version import versions
from worker_node.data.shard import Shard


def describe(shard: Shard, tell_labels: bool, as_json: bool) -> str:
    """For the owner's own eyes: counts, and each fact that the handshake tells."""
    counts = shard.label_counts()
    repeated = shard.held_out_rows_trained_on()
    if as_json:
        facts = {
            "rows": {"train": len(shard.train), "held_out": len(shard.held_out)},
            "labels": counts,
            "tells_labels": tell_labels,
            "skipped": dict(shard.skipped),
            "held_out_rows_trained_on": repeated,
            "versions": versions(),
            "tokeniser": tokeniser_fingerprint(),
        }
        return json.dumps(facts)
    lines = ["This node would hold:"]
    lines += [
        f"  {part.replace('_', '-'):<9} {sum(labels.values()):>7,} messages: "
        f"{labels['ham']:,} ham, {labels['spam']:,} spam"
        for part, labels in counts.items()
    ]
    lines += [f"  skipped   {count:>7,} lines: {why}" for why, count in shard.skipped.items()]
    if repeated:
        lines.append(f"  {repeated:,} held-out messages are also trained on: metrics will flatter")
    told = "of them, ham and spam" if tell_labels else "ham and spam of the held-out ones alone"
    lines += [
        "A coordinator would be told:",
        f"  the numbers of messages, and {told}",
        "  versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()),
        "It would get: models trained here, their training loss, and counts of scores by class.",
        "It would never get: a message, or which message has which label or score.",
    ]
    return "\n".join(lines)
