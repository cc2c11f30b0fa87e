"""A model's parameters on their way to a node and back, batch after batch.

A batch touches a few hundred of the rows of an embedding, so nearly all of a parameter that is sent
is what the other side had when it was last here. Each side keeps what went over the wire last, of
either direction, and sends the numbers that differ from that: the same bits, in a fraction of the
bytes and of the copying.

A part, as it travels: None for no tensor, [shape, bytes] for a whole float32 one, and
[stamp, places, values] for the numbers that differ from the base of that stamp.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.errors import NodeFailed

Numbers = npt.NDArray[np.float32]

FEWEST = 1024
"""Tensors with fewer numbers than this travel whole."""
MAX_BASES = 64
MAX_BASE_NUMBERS = 2**26
"""A side keeps at most that many tensors, and numbers in all; what exceeds it travels whole."""


class ParameterBases:
    """What this side and the other both know: the last value of each tensor that travelled.

    Both sides must see the same transfers in the same order; a stamp in each part tells where they
    did not.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[int, Numbers]] = {}
        self._size = 0

    def clear(self) -> None:
        """Forgets all: what comes next travels whole."""
        self._known.clear()
        self._size = 0

    def pack(self, object_id: int, name: str, values: Numbers | None) -> Any:
        """The part that tells `values` (any shape, contiguous), or that there are none.

        Args:
            object_id, name: which tensor of which parameter it is.
        """
        if values is None:
            return None
        key, flat = (object_id, name), values.reshape(-1)
        stamp, base = self._known.get(key, (0, None))
        if base is None or base.shape != values.shape:
            self._keep(key, values)
            return values.shape, flat.tobytes()
        known, new = base.reshape(-1).view(np.uint32), flat.view(np.uint32)
        places = np.flatnonzero(known != new).astype(np.int32)
        if 2 * places.size >= flat.size:
            self._keep(key, values)
            return values.shape, flat.tobytes()
        changed = new[places]
        known[places] = changed
        self._known[key] = (stamp + 1, base)
        return stamp, places.tobytes(), changed.tobytes()

    def unpack(self, object_id: int, name: str, part: Any) -> Numbers | None:
        """The values of a part, in memory of their own; None where it tells of none.

        Raises:
            NodeFailed: the part is malformed, or differs from a base that is not here.
        """
        if part is None:
            return None
        try:
            if len(part) == 2:
                values = _whole(*part)
                self._keep((object_id, name), values)
                return values
            return self._differing((object_id, name), *part)
        except (TypeError, ValueError, IndexError) as error:
            raise NodeFailed("a malformed parameter", str(error)[:200]) from None

    def _differing(self, key: tuple[int, str], stamp: int, places: bytes, values: bytes) -> Numbers:
        known, base = self._known.get(key, (0, None))
        if base is None or known != stamp:
            raise NodeFailed("a parameter told by what differs from one that is not here")
        where = np.frombuffer(places, np.int32)
        changed = np.frombuffer(values, np.uint32)
        if where.size != changed.size or (where.size and where.min() < 0):
            raise ValueError("as many places as values, and none below 0")
        base.reshape(-1).view(np.uint32)[where] = changed
        self._known[key] = (stamp + 1, base)
        return base.copy()

    def _keep(self, key: tuple[int, str], values: Numbers) -> None:
        _, before = self._known.pop(key, (0, None))
        self._size -= before.size if before is not None else 0
        room = len(self._known) < MAX_BASES and self._size + values.size <= MAX_BASE_NUMBERS
        if values.size >= FEWEST and room:
            self._known[key] = (0, values.copy())
            self._size += values.size


def _whole(shape: Any, data: Any) -> Numbers:
    if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("a shape that is none")
    if type(data) is not bytes or len(data) != 4 * math.prod(shape):
        raise ValueError(f"{len(data)} bytes for a float32 tensor of {shape}"[:100])
    return np.frombuffer(bytearray(data), np.float32).reshape(shape)
