"""What a node's claim of rows may count for, in the average and in the overall metrics.

Nobody but a node's owner can count its rows, and FedAvg weighs by them: who claims 500,000,000 of
them would be the model. So a node counts for no more than `rows_bound` times the median of the
*other* nodes' rows. Its own claim has no part in its own bound, so no claim moves it; and the
bound is a function of what all have told before a round's first result, so that results can be
added as they come, in any order, and none needs to be kept.

Ten is about where honest skew ends: of ten owners dealt by Dirichlet(0.3), which the field uses for
uneven ones, the largest has 9.9 times the median of the others (the middle of 30 deals of the SMS
collection; 3.8 times by Dirichlet(1)). Who has more is cut too, and told so.

The median is the upper one where two are in the middle: with one false node of three, the bound of
an honest one is then the rows of the other honest one or more, however few the false one claims.

What it does not prevent: a bounded claim still counts `rows_bound` times as much as a usual node's,
which at 10 is 91 % of two nodes, 53 % of ten and 9 % of a hundred; whoever is a majority so can
ruin the model as one. More than half of the nodes that lie together set the median themselves. And
a result that is bad in itself needs no claim at all: see server/aggregation/robust.py, whose
trimmed mean and median do not weigh by rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor


def counted_rows(claims: Mapping[str, int], bound: float) -> dict[str, int]:
    """What each node counts for: its rows, or the bound on them where they are more.

    Args:
        claims: rows by node id. A node without rows is nobody's measure.
        bound: how many times the upper median of the other nodes' rows a node may count for, 1 or
            more; 0 sets no bound. Nothing bounds a node that is alone.
    """
    ordered = sorted(rows for rows in claims.values() if rows > 0)
    if not bound or len(ordered) < 2:
        return dict(claims)
    middle = (len(ordered) - 1) // 2
    # Without a node of the lower half the median of the rest is one place higher than middle.
    low, high = ordered[middle], ordered[middle + 1]
    return {
        node: min(rows, floor(bound * (high if rows <= low else low)))
        for node, rows in claims.items()
    }


def claim_words(rows: int, counted: int, bound: float, kind: str = "rows") -> str:
    """A notice of a claim that the bound cut; begins after the node's name."""
    return (
        f"claims {rows:,} {kind} and counts for {counted:,}, which is {bound:g} times the median "
        "of the other nodes'"
    )
