"""Local training in a process of its own, with plain torch."""

KEEP_WORK_SECONDS = 30.0
"""How long a training goes on whose coordinator is gone; then the trainer is free for others."""
