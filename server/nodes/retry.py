"""What is worth another attempt, and how long to wait before it."""

from __future__ import annotations

import enum
import random
from collections.abc import Iterator

from shared.errors import (
    CertificateRefused,
    FedsmsError,
    HandshakeRefused,
    NodeFailed,
    NodeTimeout,
    NodeUnreachable,
    PolicyRefused,
)

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
LONGEST_RELAPSE = 60.0
POLICY_REST = 30.0
"""Seconds for which a node trains no more whose owner's policy said no: asking costs a model."""


class Retry(enum.Enum):
    """When a node that failed should be asked again."""

    NOW = "now"
    NEXT_ROUND = "next round"
    NEVER = "never"


def verdict(error: FedsmsError) -> Retry:
    """The one place that decides what is worth a retry.

    A connection that broke says nothing about the request: the node may answer it over the next
    one, from its memory. A node that was too slow, or that answered that it cannot, would do the
    same again with the same request; the next round's is another. So would one whose owner's
    policy says no, until the hour comes or the owner's yes, and one that was replaced by a peer
    that does not fit, until its owner puts that right. Everything else is final, a
    certificate that is refused above all: who was revoked is not to be called for hours.
    """
    if isinstance(error, CertificateRefused):
        return Retry.NEVER
    if isinstance(error, NodeTimeout | NodeFailed | HandshakeRefused | PolicyRefused):
        return Retry.NEXT_ROUND
    return Retry.NOW if isinstance(error, NodeUnreachable) else Retry.NEVER


def delays(relapses: int = 0) -> Iterator[float]:
    """Seconds before each attempt, without end: doubled each time, up to LONGEST_DELAY.

    Args:
        relapses: how often in a row the node came back, and left before it had done its part; the
            first delay is doubled for each, up to LONGEST_RELAPSE.

    Each is drawn between half and the whole of that, so that many who lost a connection at the
    same moment do not come back at the same moment.
    """
    longest = min(FIRST_DELAY * 2 ** min(relapses, 16), LONGEST_RELAPSE)
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - nothing secret hangs on it
        longest = max(longest, min(2 * longest, LONGEST_DELAY))
