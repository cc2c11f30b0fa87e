"""What the log of whoever listens says of TLS handshakes that failed."""

from __future__ import annotations

import logging
import ssl
import time

REPEAT_SECONDS = 60.0
"""How long the log keeps silent about a reason that it has just told."""


class FailedHandshakes:
    """Tells a log of TLS handshakes that failed; each reason once a minute at most.

    Args:
        log: whose words they are. who: listens, for instance "node".
    """

    def __init__(self, log: logging.Logger, who: str) -> None:
        self._log = log
        self._who = who
        self._told: dict[str, float] = {}

    def __call__(self, error: ssl.SSLError) -> None:
        words = describe_failure(error, self._who)
        now = time.monotonic()
        if now - self._told.get(words, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._told[words] = now
            self._log.warning("a connection was refused: %s", words)


def describe_failure(error: ssl.SSLError, who: str) -> str:
    """Why a handshake failed, in words.

    Args:
        who: was dialled.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of whoever dialled is not good here: {error.verify_message}"
    reason = error.reason or str(error)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "whoever dialled has no certificate"
    if reason in ("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"):
        return "whoever dialled speaks no TLS 1.3"
    words = reason.lower().replace("_", " ")
    if "ALERT" in reason:
        return f"whoever dialled does not accept this {who}'s certificate, or its TLS ({words})"
    return f"whoever dialled speaks no TLS that this {who} understands ({words})"
