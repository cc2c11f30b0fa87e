"""Why whoever is dialled by an owner's side is not to be had, in an owner's words."""

from __future__ import annotations

import socket
import ssl

from websockets.asyncio.connection import Connection
from websockets.exceptions import (
    InvalidMessage,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)

from shared.errors import FedsmsError, NodeUnreachable, describe_os_error
from shared.identity.tls import objection_of
from shared.quoting import quoted
from shared.wire.timeouts import Timeouts


def failure_words(error: Exception, url: str, timeouts: Timeouts) -> FedsmsError:
    """The error for a connection that did not come about.

    Args:
        error: what ended it.
    """
    return NodeUnreachable(_words(error, timeouts))


def _words(error: Exception, timeouts: Timeouts) -> str:
    if isinstance(error, ssl.SSLError):
        return _tls_words(error)
    if isinstance(error, TimeoutError):
        return f"no connection within {timeouts.connect_timeout:g} s"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "its host name is not known"
    if isinstance(error, OSError):
        return describe_os_error(error)
    return _http_words(error)


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of whoever answers is not good here: {error.verify_message}. It "
            "may be another federation's, or revoked, or its coordinator has to renew it"
        )
    reason = error.reason or str(error)
    if "ALERT" in reason:
        objection = objection_of(reason)
        return f"whoever answers does not accept this node's certificate: it {objection}"
    return f"whoever answers speaks no TLS that this node understands ({reason})"


def _http_words(error: Exception) -> str:
    if isinstance(error, InvalidProxyStatus):
        return f"the proxy refuses it, with HTTP status {error.response.status_code}"
    if isinstance(error, ImportError):
        return "the proxy of this machine's settings is of another kind than HTTP"
    if isinstance(error, InvalidProxy):  # not its address: that may hold a password
        return f"the proxy of this machine's settings cannot be used: {quoted(error.msg)}"
    if isinstance(error, ProxyError):
        return f"the proxy of this machine's settings cannot be used: {quoted(str(error))}"
    if isinstance(error, InvalidStatus):
        return f"no coordinator answers there, but HTTP status {error.response.status_code}"
    if isinstance(error, (InvalidMessage, EOFError)):
        return "whoever answers hung up at once; perhaps one side wants TLS, and the other none"
    return f"what answers is no coordinator of fedsms: {quoted(str(error))}"


def closed_words(connection: Connection) -> str:
    """Why a connection came to no session: what the other side said when it closed it."""
    protocol = connection.protocol
    received, sent = protocol.close_rcvd, protocol.close_sent
    if received is not None and protocol.close_rcvd_then_sent:
        return f"whoever answers says {quoted(received.reason or 'nothing')}, and hangs up"
    if sent is not None:
        return f"this node hung up: {sent.reason}"
    return "it broke before a session began"
