"""Why TLS with a node failed, in words: which certificate, whose, until when, and what to do.

The judging is OpenSSL's (shared/identity/tls.py). Here its answer is put into words, and who
answers at the address is looked at once more where the words need it; nothing is told to whoever
that is.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

from cryptography import x509

from server.nodes.addresses import NodeAddress
from shared.errors import CertificateRefused, HandshakeRefused
from shared.identity.certificates import (
    Name,
    UnfitCertificate,
    day,
    describe,
    federation_of,
    fingerprint,
    moment_in_words,
    name_of,
)
from shared.identity.folder import Identity
from shared.identity.tls import blind_context, objection_of

PROBE_SECONDS = 5.0
"""How long a second look at who answers may take at most."""

# OpenSSL's X509_V_ERR_*, of include/openssl/x509_vfy.h
NOT_YET_VALID, EXPIRED, REVOKED, WRONG_PURPOSE = 9, 10, 23, 26
FOREIGN = (2, 7, 18, 19, 20, 21, 30)


def check_holder(address: NodeAddress, certificate: x509.Certificate | None) -> None:
    """Raises CertificateRefused where a verified certificate is not that of the node dialled."""
    if certificate is None:  # cannot be, with CERT_REQUIRED; never let it pass
        raise CertificateRefused(f"node {address} showed no certificate")
    try:
        name = name_of(certificate)
    except UnfitCertificate as error:
        fact = f"what answers at {address.url} is not node {address.id}"
        raise CertificateRefused(fact, f"{describe(certificate)}: {error}") from error
    if name != Name("node", address.id):
        who = str(name) if name.role == "node" else f"{name}, and no node"
        raise CertificateRefused(
            f"what answers at {address.url} is not node {address.id}",
            f"it is {who}: it shows {describe(certificate)}",
            f"Check the address given for {address.id}.",
        )


async def explain_tls(
    address: NodeAddress, own: Identity, error: Exception, seconds: float
) -> HandshakeRefused | None:
    """The error for a wss:// address where TLS failed; None where TLS is not the reason.

    Args:
        error: what ended the connection.
        seconds: how long a handshake may take; a second look takes no longer, nor than
            PROBE_SECONDS. 0 leaves these alone.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        shown = await shown_certificate(address, seconds)
        return _bad_certificate(address, own, error, shown)
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return _refused_by_node(address, own, error.reason)
    if isinstance(error, (ssl.SSLError, ConnectionResetError)):
        return await _no_tls(address, error, seconds)
    return None


async def _no_tls(address: NodeAddress, error: OSError, seconds: float) -> HandshakeRefused | None:
    if await _speaks_http(address, seconds):
        return HandshakeRefused(
            f"node {address} cannot be dialled with TLS",
            "it speaks no TLS: it was started without an identity, or with --insecure",
            f"Start it with an identity, or dial it as {address.id}={address.with_scheme('ws')} "
            "(--insecure, where that is another machine).",
        )
    fact = f"what answers for node {address} is no node of fedsms"
    shown = await shown_certificate(address, seconds)
    if shown is not None:
        return HandshakeRefused(fact, f"it speaks no TLS 1.3; it shows {describe(shown)}")
    if isinstance(error, ssl.SSLError):
        return HandshakeRefused(fact, f"TLS failed ({error.reason or error})", "Check the port.")
    return None


async def explain_no_websocket(address: NodeAddress, seconds: float) -> HandshakeRefused | None:
    """The error for a ws:// address where TLS is spoken; None where it is not."""
    shown = await shown_certificate(address, seconds)
    if shown is None:
        return None
    return HandshakeRefused(
        f"node {address} cannot be dialled without TLS",
        f"it wants TLS, and shows {describe(shown)}",
        f"Dial it as {address.id}={address.with_scheme('wss')}.",
    )


def _bad_certificate(
    address: NodeAddress,
    own: Identity,
    error: ssl.SSLCertVerificationError,
    shown: x509.Certificate | None,
) -> CertificateRefused:
    node = address.id
    what = describe(shown) if shown is not None else "a certificate that cannot be read"
    admitted = (
        f"python -m server admit {node}.csr here, python -m worker_node join {node}.pem there, and "
        "start the node again."
    )
    again = f"python -m worker_node init --id {node} there, {admitted}"
    afresh = f"python -m worker_node init --id {node} in an empty folder there, {admitted}"
    ours = f"{federation_of(own.ca)} (CA {fingerprint(own.ca)[:23]}...)"
    known = {
        EXPIRED: ("it has expired", f"Renew it: {again}"),
        NOT_YET_VALID: ("it is not valid yet", "Compare the clocks of the two machines."),
        REVOKED: (
            _revoked_since(own, shown),
            f"If {node} may come back, with a new key: {afresh}",
        ),
        WRONG_PURPOSE: ("it is no node's", "Check the address."),
        **dict.fromkeys(
            FOREIGN,
            (
                f"it is of another federation, and this coordinator belongs to {ours}",
                f"Check the address, and --identity. To take {node} into this federation: {again}",
            ),
        ),
    }
    why, next_step = known.get(error.verify_code, (error.verify_message, "Check the address."))
    return CertificateRefused(
        f"the certificate at node {address} is refused", f"{why}; it shows {what}", next_step
    )


def _revoked_since(own: Identity, shown: x509.Certificate | None) -> str:
    if shown is None:
        return "it was revoked"
    revoked = own.crl.get_revoked_certificate_by_serial_number(shown.serial_number)
    return f"it was revoked on {day(revoked.revocation_date_utc)}" if revoked else "it was revoked"


def _refused_by_node(address: NodeAddress, own: Identity, reason: str) -> HandshakeRefused:
    if reason == "TLSV1_ALERT_PROTOCOL_VERSION":
        cause = "it speaks no TLS 1.3"
        return HandshakeRefused(f"what answers for node {address} is no node of fedsms", cause)
    until = moment_in_words(own.certificate.not_valid_after_utc)
    return CertificateRefused(
        f"node {address} does not accept this coordinator's certificate",
        f"it {objection_of(reason)}; ours, in {own.folder}, is {describe(own.certificate)}",
        f"It is valid here until {until}. Ask {address.id}'s owner what the node's log says, and "
        "look at the federation's list: python -m server list",
    )


async def shown_certificate(address: NodeAddress, seconds: float) -> x509.Certificate | None:
    """The certificate that is shown at an address, not verified; None where there is none.

    The handshake stops before anything of ours, a certificate for instance, is sent.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    conversation = blind_context().wrap_bio(incoming, outgoing, server_side=False)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(min(seconds or PROBE_SECONDS, PROBE_SECONDS)):
            reader, writer = await asyncio.open_connection(*address.endpoint)
            try:
                while not _is_done(conversation):
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(2**16) or _hung_up())
            finally:
                await _close(writer)
        data = conversation.getpeercert(binary_form=True)
        with suppress(ValueError):
            return x509.load_der_x509_certificate(data) if data else None
    return None


def _is_done(conversation: ssl.SSLObject) -> bool:
    try:
        conversation.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _hung_up() -> bytes:
    raise ConnectionResetError


async def _speaks_http(address: NodeAddress, seconds: float) -> bool:
    """True where a request without TLS is answered in HTTP, as WebSocket servers do."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(min(seconds or PROBE_SECONDS, PROBE_SECONDS)):
            reader, writer = await asyncio.open_connection(*address.endpoint)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
                return (await reader.read(5)).startswith(b"HTTP/")
            finally:
                await _close(writer)
    return False


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
