"""When skipping rows changed what the rest says: it took one label's rows, and not the other's."""

from __future__ import annotations

from collections.abc import Mapping

LOPSIDED_SHARE, LOPSIDED_RATIO = 0.01, 2.0
"""A hundredth of a label's rows lost, and twice the other's share, is no accident of few rows."""


def is_lopsided(shares: Mapping[str, float]) -> bool:
    """Whether a notably larger share of one label's rows was skipped than of the other's.

    Args:
        shares: of each label's rows, from 0 to 1; one share of all rows alone is never lopsided.
    """
    less, more = min(shares.values(), default=0.0), max(shares.values(), default=0.0)
    return len(shares) > 1 and more >= LOPSIDED_SHARE and more >= LOPSIDED_RATIO * less
