"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes
from typing import Any


def give_back() -> None:
    """Has the C library return the pages that it keeps for later, where it can be asked to (glibc).

    It keeps what was freed between things that stay, and a node has long stretches in which it
    needs none of that: the peak of the next work then begins lower.
    """
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # else another C library
        trim(0)
