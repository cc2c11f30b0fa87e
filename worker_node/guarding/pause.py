"""The owner's pause: nothing is begun, and nothing that tells of the rows leaves, until its end.

Connections stand meanwhile, so that a run that goes on without this node takes it in again. A pause
lasts as long as the node does: one that is started anew works.
"""

from __future__ import annotations

from datetime import UTC, datetime

from shared.errors import PAUSE, PolicyRefused


class Pause:
    """Of one node; off at first."""

    def __init__(self) -> None:
        self.since: datetime | None = None

    @property
    def is_on(self) -> bool:
        return self.since is not None

    def begin(self) -> None:
        """Idempotent."""
        self.since = self.since or datetime.now(UTC)

    def end(self) -> None:
        """Idempotent."""
        self.since = None

    def check(self) -> None:
        """Raises PolicyRefused while it is on."""
        if self.is_on:
            raise self.refusal()

    @staticmethod
    def refusal() -> PolicyRefused:
        error = PolicyRefused(
            f"the node's owner has paused it (rule {PAUSE})",
            "it begins nothing, and tells nothing, until they have it go on",
            "It is asked again; ask its owner how long this takes.",
        )
        error.rule = PAUSE
        return error
