"""Local training in a process of its own, with plain torch."""

KEEP_WORK_SECONDS = 30.0
"""How long a training goes on whose coordinator is gone; then the trainer is free for others."""
KEPT_BYTES = 64_000_000
"""Of ids that are kept of one part of a shard, unless the owner's policy says otherwise: 25,800
rows of the default recipe."""
