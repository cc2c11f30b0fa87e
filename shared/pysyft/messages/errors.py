"""What reading a peer's bytes can end in.

ValueError
└── MalformedMessage      the bytes are no message that this side reads
    └── ForbiddenContent  they may be one, but hold a type that this worker does not accept
"""

from __future__ import annotations


class MalformedMessage(ValueError):
    """Bytes that are no well-formed message: truncated, garbage, or of a forbidden encoding."""


class ForbiddenContent(MalformedMessage):
    """A message with a type that is not on the receiving worker's list; nothing of it was built."""
