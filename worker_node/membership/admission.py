"""Admission: which coordinators a node lets in, and how it proves to them who it is."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.connection import Connection

from shared.errors import CertificateRefused, IdentityError, UsageError
from shared.identity import folder as identity
from shared.identity import tls
from shared.identity.certificates import Name, UnfitCertificate, name_of
from shared.wire.frames import MalformedFrame
from shared.wire.transport import is_loopback
from worker_node.membership.enrolment import read_coordinators

REPEAT_SECONDS = 60.0
"""How long the log keeps silent about a reason that it has just told."""

log = logging.getLogger("fedsms.node")


@dataclass(frozen=True)
class Admission:
    """A node's proof of itself, and the names of the coordinators that it works with."""

    node: Name
    context: ssl.SSLContext
    coordinators: frozenset[str]

    def check(self, peer: Name) -> None:
        """Raises CertificateRefused for whoever the owner does not work with."""
        if peer.role == "coordinator" and peer.id in self.coordinators:
            return
        raise CertificateRefused(
            f"{self.node} does not work with {peer}",
            "its certificate is good, but the node's owner has not allowed it",
            f"Ask {self.node.id}'s owner to add {peer.id} to coordinators.txt in the node's "
            "identity folder, or to its policy.toml, and to start the node again.",
        )


def peer_name(connection: Connection) -> Name | None:
    """The name in the verified certificate of whoever dialled; None without TLS.

    Raises:
        MalformedFrame: the federation's CA signed a certificate that names nobody.
    """
    certificate = tls.peer_certificate(connection)
    try:
        return name_of(certificate) if certificate is not None else None
    except UnfitCertificate as error:
        raise MalformedFrame(f"a certificate that does not say whose it is: {error}") from error


def find_identity(folder: Path | None, host: str, insecure: bool) -> identity.Identity | None:
    """The identity to serve with; None where the node serves without TLS.

    Args:
        folder: None takes ./identity where it is there.
        host: where the node will listen.
        insecure: the owner said that it serves without TLS.

    Raises:
        UsageError: it would be reached from beyond this machine without TLS.
        IdentityError: the folder is missing something, or something there is unfit or expired.
    """
    if insecure:
        return None
    if folder is None and not identity.is_there(identity.DEFAULT):
        if is_loopback(host):
            return None
        raise UsageError(
            f"at {host} the node would be reached from other machines without TLS",
            f"there is no identity in {identity.DEFAULT}",
            "Make one with: python -m worker_node init --id ID; --insecure serves without.",
        )
    return identity.load(folder or identity.DEFAULT, "node")


def make_admission(own: identity.Identity, coordinators: Sequence[str]) -> Admission:
    """Args: coordinators: names to let in; none takes those of coordinators.txt.

    Raises:
        IdentityError: nobody would be let in, or OpenSSL does not take the files.
    """
    allowed = frozenset(coordinators or read_coordinators(own.folder))
    if not allowed:
        raise IdentityError(
            f"{own.name} would work with no coordinator",
            f"{own.folder / identity.COORDINATORS} names none",
            "Write its name there, or give it with --coordinator NAME.",
        )
    return Admission(own.name, tls.server_context(own, FailedHandshakes()), allowed)


class FailedHandshakes:
    """Tells the log of TLS handshakes that failed; each reason once a minute at most."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def __call__(self, error: ssl.SSLError) -> None:
        words = describe_failure(error)
        now = time.monotonic()
        if now - self._told.get(words, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._told[words] = now
            log.warning("a connection was refused: %s", words)


def describe_failure(error: ssl.SSLError) -> str:
    """Why a handshake failed, in an owner's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of whoever dialled is not good here: {error.verify_message}"
    reason = error.reason or str(error)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "whoever dialled has no certificate"
    if reason in ("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE"):
        return "whoever dialled speaks no TLS 1.3"
    words = reason.lower().replace("_", " ")
    if "ALERT" in reason:
        return f"whoever dialled does not accept this node's certificate, or its TLS ({words})"
    return f"whoever dialled speaks no TLS that this node understands ({words})"
