"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Has the C library return the pages that it keeps for later, where it can be asked to (glibc).

    It keeps what was freed between things that stay, and a node has long stretches in which it
    needs none of that: the peak of the next work then begins lower.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return
    trim(0)
