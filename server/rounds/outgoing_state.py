"""One state of the model on its way to many nodes: packed once, whole or as a patch."""

from __future__ import annotations

from server.nodes.client import pack_state
from shared.model.vectors import Vector, new_object_id


class OutgoingState:
    """A state that nodes get.

    Attributes:
        id: under which every node keeps it.
        state: the state (P,).
        base: the state before it, which nodes may hold already; None where there is none.
    """

    def __init__(self, state: Vector, base: OutgoingState | None = None) -> None:
        self.id = new_object_id()
        self.state = state
        self.base = base
        self._packed: dict[bool, bytes] = {}

    def packed(self, held: set[int]) -> tuple[bytes, int | None]:
        """The message for a node that holds these states; the same bytes serve all like it.

        Returns:
            The message, and the id of the state that it is a patch for; None for a whole one.
        """
        patch = self.base is not None and self.base.id in held
        if patch not in self._packed:
            base = self.base.state if self.base is not None and patch else None
            self._packed[patch] = pack_state(self.state, base, self.id)
        return self._packed[patch], self.base.id if self.base is not None and patch else None

    def drop_base(self) -> None:
        """Forgets the state before it: from now on nodes hold this one, or get it whole."""
        self.base = None
        self._packed.pop(True, None)
