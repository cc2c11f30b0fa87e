"""SSL contexts of both sides: TLS 1.3, and nobody but the federation's own certificates.

Each side trusts its federation's CA alone and demands a certificate. Host names are not looked at:
an address says where a node is at the moment, and the name in its certificate says who it is. The
caller compares that name, with `peer_certificate`, before it sends a message.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from cryptography import x509
from websockets.asyncio.connection import Connection

from shared.errors import IdentityError
from shared.identity.certificates import describe, may_dial, may_listen
from shared.identity.folder import CA, CERTIFICATE, CRL, KEY, Identity, renewal

OBJECTIONS = {
    "TLSV1_ALERT_UNKNOWN_CA": "says that its federation's CA did not sign it",
    "TLSV1_ALERT_DECRYPT_ERROR": "says that its federation's CA did not sign it",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "says that it is not valid by the clock there",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "says that it was revoked",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "says that it is of an older version, or another's",
    "SSLV3_ALERT_BAD_CERTIFICATE": "says that it is malformed, or not valid by the clock there",
}
"""What the other side objects to, by the alert that OpenSSL sends for it."""


def objection_of(alert: str) -> str:
    """What an alert says of our certificate, after "it"."""
    return OBJECTIONS.get(alert, f"says: {alert.lower().replace('_', ' ')}")


def client_context(identity: Identity) -> ssl.SSLContext:
    """What somebody dials with. Made anew for each dial, so that a new crl.pem counts.

    Raises:
        IdentityError: OpenSSL does not take the identity's files, or the certificate is of an older
            version, and only for being dialled.
    """
    if not may_dial(identity.certificate):
        raise _of_an_older_version(identity, "be dialled, and not dial out")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _prepared(context, identity)


def server_context(
    identity: Identity, on_failure: Callable[[ssl.SSLError], None], everybody: bool = False
) -> ssl.SSLContext:
    """What somebody listens with.

    Args:
        everybody: who has no certificate comes through TLS too, and must then be told apart by
            `peer_certificate`; one that is not good is still refused.
        on_failure: told of each handshake that fails for TLS's own reasons; asyncio tells nobody.

    Raises:
        IdentityError: OpenSSL does not take the identity's files, or the certificate is of an older
            version, and only for dialling.
    """
    if not may_listen(identity.certificate):
        raise _of_an_older_version(identity, "dial, and not listen")

    class Reporting(ssl.SSLObject):
        """Tells both sides of a failed handshake, of which asyncio would drop every word."""

        failure: ssl.SSLError | None = None

        def do_handshake(self) -> None:
            if self.failure is not None:
                raise self.failure
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLSyscallError):  # goes on when more has come
                raise
            except ssl.SSLError as error:
                self.failure = error
                on_failure(error)
                if not _can_read_alerts(error):
                    raise
                # Who wants to read is first let write: so the alert, in which OpenSSL tells the
                # other side what is wrong, leaves before the connection is closed.
                raise ssl.SSLWantReadError from error

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = Reporting
    # A resumed session would pass by the certificate's end and by the list of revoked ones.
    context.num_tickets = 0
    _prepared(context, identity)
    if everybody:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _of_an_older_version(identity: Identity, allows: str) -> IdentityError:
    return IdentityError(
        f"{describe(identity.certificate)}, is of an older version of fedsms",
        f"with it {identity.name} can {allows}",
        renewal(identity.name, identity.folder),
    )


def blind_context() -> ssl.SSLContext:
    """Accepts anybody's certificate: to read what it says, never to talk to its holder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def peer_certificate(connection: Connection) -> x509.Certificate | None:
    """The verified certificate of whoever is at the other end; None without TLS."""
    tls: Any = connection.transport.get_extra_info("ssl_object")
    data = tls.getpeercert(binary_form=True) if tls is not None else None
    return x509.load_der_x509_certificate(data) if data else None


def _can_read_alerts(error: ssl.SSLError) -> bool:
    """True where the other side of a failed handshake speaks TLS, so that an alert is of use."""
    told = ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "UNSUPPORTED_PROTOCOL")
    return isinstance(error, ssl.SSLCertVerificationError) or error.reason in told


def _prepared(context: ssl.SSLContext, identity: Identity) -> ssl.SSLContext:
    folder = identity.folder
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        context.load_verify_locations(folder / CA)
        context.load_verify_locations(folder / CRL)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (ssl.SSLError, OSError) as error:
        raise IdentityError(f"OpenSSL cannot use the files in {folder}", str(error)) from error
    return context
