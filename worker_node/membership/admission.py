"""Admission: which coordinators a node lets in, and how it proves to them who it is."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.connection import Connection

from shared.errors import CertificateRefused, IdentityError, UsageError
from shared.identity import folder as identity
from shared.identity import tls
from shared.identity.certificates import Name, UnfitCertificate, name_of
from shared.identity.failed_handshakes import FailedHandshakes
from shared.wire.frames import MalformedFrame
from shared.wire.transport import is_loopback
from shared.wire.urls import endpoint_of, is_secure, with_scheme
from worker_node.membership.enrolment import read_coordinators

log = logging.getLogger("fedsms.node")


@dataclass(frozen=True)
class Admission:
    """A node's proof of itself, and the names of the coordinators that it works with."""

    node: Name
    folder: Path
    context: ssl.SSLContext
    coordinators: frozenset[str]

    def check(self, peer: Name | None) -> None:
        """Raises CertificateRefused for whoever the owner does not work with, or has no name."""
        if peer is None:
            raise CertificateRefused(f"{self.node} works with nobody who shows no certificate")
        if peer.role == "coordinator" and peer.id in self.coordinators:
            return
        if peer.role != "coordinator":
            raise CertificateRefused(
                f"{self.node} works with coordinators, and {peer} is none",
                "its certificate is good, and its name is in it",
            )
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


def check_dials(urls: Sequence[str], own: identity.Identity | None, insecure: bool) -> None:
    """What a node dials out to fits what it proves itself with.

    Args:
        own: None where it serves without TLS.
        insecure: the owner said that lines to other machines may be without TLS.

    Raises:
        UsageError: TLS is missing where it is wanted, or wanted where there is no identity.
        IdentityError: the certificate is of an older version, and only for being dialled.
    """
    for url in urls:
        if is_secure(url) and own is None:
            raise UsageError(
                f"{url} cannot be dialled",
                "the node has no identity to prove itself with, or was told to serve --insecure",
                "Make one with: python -m worker_node init --id ID; or name the folder with "
                "--identity.",
            )
        if not is_secure(url) and own is not None:
            raise UsageError(
                f"{url} would be dialled without TLS, and this node proves who it is",
                f"its identity is in {own.folder}",
                f"Write {with_scheme(url, 'wss')}, or serve with --insecure.",
            )
        if not is_secure(url) and not insecure and not is_loopback(endpoint_of(url)[0]):
            raise UsageError(
                f"{url} would be dialled without TLS",
                "whoever is on the line could be the coordinator, and read along",
                f"Write {with_scheme(url, 'wss')} once the node has its identity "
                "(python -m worker_node init); --insecure dials it as it is.",
            )
    if own is not None and urls:
        tls.client_context(own)


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
    context = tls.server_context(own, FailedHandshakes(log, "node"))
    return Admission(own.name, own.folder, context, allowed)
