"""Joining by an invitation: the key is made here, and the coordinator's port does the rest.

Nobody is trusted but the CA whose fingerprint the invitation has. Who answers is first asked for
that CA, over a connection on which nothing is told; the secret goes over a second one, to whom the
CA calls a coordinator.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from shared.errors import (
    CertificateRefused,
    FedsmsError,
    HandshakeRefused,
    NodeFailed,
    NodeUnreachable,
    one_line,
)
from shared.files import is_present, read_bytes
from shared.identity import folder as identity
from shared.identity.certificates import (
    UnfitCertificate,
    certificate_from_pem,
    fingerprint,
    is_ca,
    name_of,
    to_pem,
)
from shared.identity.invitation import Invitation
from shared.identity.tls import blind_context, peer_certificate
from shared.quoting import quoted
from shared.wire.dial_failures import failure_words
from shared.wire.direct import NotOpened, open_direct, proxy_for
from shared.wire.frames import MalformedFrame, pack_map, unpack_error, unpack_map
from shared.wire.joining import JOIN_PATH, MAX_ERROR, CaAnswer, JoinAnswer, JoinQuestion
from shared.wire.knocks import knocks
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts, limit
from worker_node.membership.dials import write_dials
from worker_node.membership.enrolment import Joined, install, make_request

LONGEST_PAUSE = 5.0
"""Seconds between two attempts of somebody who sits before it."""
ANSWER_SECONDS = 60.0
"""How long a coordinator may take to sign."""


async def join_by_invitation(
    invitation: Invitation,
    folder: Path,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    wait: float = 0,
    tell: Callable[[str], object] = lambda words: None,
) -> Joined:
    """Makes a key and a request, has it signed, installs the answer, and remembers where to dial.

    It may be called again after a failure, also where the answer got lost: the key is kept.

    Args:
        wait: seconds for which a coordinator that does not answer yet is tried again; 0 tries once.
        tell: told once why it is.

    Raises:
        NodeUnreachable: nobody answers. CertificateRefused: the invitation is not good any more,
            or whoever answers is not whom it names.
        IdentityError: the folder is another's, or of another federation; the answer is unfit.
    """
    _check_folder(invitation, folder)
    request, _ = make_request(folder, invitation.node)
    ca = await _ask_patiently(invitation, timeouts, wait, tell)
    question = JoinQuestion(
        invitation=invitation.id,
        secret=invitation.secret,
        request=read_bytes(request).decode(),
    )
    context = _trusting(ca)
    async with _opened(invitation, context, timeouts, 2 * identity.MAX_ANSWER_BYTES) as connection:
        shown = peer_certificate(connection)
        _check_coordinator(invitation, shown)
        told = await _exchange(connection, invitation, pack_map(question.model_dump()))
    answer = JoinAnswer.parse(told)
    if answer.error:
        raise _said(invitation, unpack_error(answer.error))
    source = f"what {invitation.place} answered"
    joined = install(source, answer.answer.encode(), folder, invitation.ca, shown)
    write_dials(folder, [invitation.url])
    return joined


def _check_folder(invitation: Invitation, folder: Path) -> None:
    """Raises IdentityError, before anything is sent, where the folder is of another federation."""
    path = folder / identity.CA
    if not is_present(path):
        return
    try:
        there = fingerprint(certificate_from_pem(read_bytes(path)))
    except UnfitCertificate as error:
        raise identity.unfit(path, str(error)) from error
    if there.replace(":", "") != invitation.ca:
        raise identity.unfit(
            path,
            "it is of another federation than the invitation",
            "Join with another --identity: a folder belongs to one federation.",
        )


async def _ask_patiently(
    invitation: Invitation, timeouts: Timeouts, wait: float, tell: Callable[[str], object]
) -> x509.Certificate:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    for attempt, drawn in enumerate(knocks()):
        try:
            return await _ask_for_ca(invitation, timeouts)
        except NodeUnreachable as error:
            pause = min(drawn, LONGEST_PAUSE)
            if loop.time() + pause > deadline:
                raise
            if not attempt:
                tell(f"{one_line(error)}. It is tried again for {wait:g} s")
            await asyncio.sleep(pause)
    raise AssertionError("knocks have no end")


async def _ask_for_ca(invitation: Invitation, timeouts: Timeouts) -> x509.Certificate:
    async with _opened(invitation, blind_context(), timeouts, MAX_ERROR) as connection:
        told = await _exchange(connection, invitation, pack_map({}))
    try:
        ca = certificate_from_pem(CaAnswer.parse(told).ca.encode())
    except UnfitCertificate as error:
        raise _no_coordinator(invitation, str(error)) from error
    if fingerprint(ca).replace(":", "") != invitation.ca or not is_ca(ca):
        raise CertificateRefused(
            f"whoever answers at {invitation.place} is not whom the invitation names",
            "the CA that it shows has another fingerprint; nothing was sent to it",
            "Check the line, and the network: somebody may stand between you and the coordinator.",
        )
    identity.check_dates(ca, "Ask the coordinator's owner for an invitation of a newer CA.")
    return ca


def _trusting(ca: x509.Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=to_pem(ca).decode())
    return context


def _check_coordinator(invitation: Invitation, certificate: x509.Certificate | None) -> None:
    """Raises CertificateRefused for another member of the federation: no secret is for it."""
    try:
        if certificate is not None and name_of(certificate).role == "coordinator":
            return
    except UnfitCertificate:
        pass
    raise CertificateRefused(
        f"whoever answers at {invitation.place} is no coordinator",
        "its certificate is of the federation, and not a coordinator's; the secret was not sent",
    )


@asynccontextmanager
async def _opened(
    invitation: Invitation, context: ssl.SSLContext, timeouts: Timeouts, most: int
) -> AsyncIterator[ClientConnection]:
    """Args: most: bytes of the answer."""
    url = f"{invitation.url}{JOIN_PATH}"
    try:
        connection = await open_direct(
            url,
            ClientConnection,
            ssl=context,
            proxy=proxy_for(url),
            open_timeout=limit(timeouts.connect_timeout),
            compression=None,
            max_size=most,
        )
    except NotOpened as error:
        words = failure_words(error.error, url, timeouts).fact
        raise NodeUnreachable(
            f"cannot join at {invitation.place}",
            words,
            "Is that the address, and does the coordinator listen there now? Its owner starts it "
            "with: python -m server listen",
        ) from error
    try:
        yield connection
    finally:
        await connection.close()


async def _exchange(
    connection: ClientConnection, invitation: Invitation, question: bytes
) -> dict[str, object]:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.send(question)
            told = await connection.recv()
        return unpack_map(told if isinstance(told, bytes) else b"")
    except TimeoutError as error:
        raise NodeUnreachable(f"{invitation.place} gave no answer in time") from error
    except ConnectionClosed as error:
        reason = error.rcvd.reason if error.rcvd is not None else ""
        why = f"it says {quoted(reason)}" if reason else "it hung up"
        raise NodeUnreachable(
            f"cannot join at {invitation.place}",
            why,
            "Does the coordinator take invitations there now? Its owner has it do so with: "
            "python -m server listen",
        ) from error
    except (MalformedFrame, NodeFailed) as error:
        raise _no_coordinator(invitation, str(error)) from error


def _no_coordinator(invitation: Invitation, why: str) -> HandshakeRefused:
    return HandshakeRefused(
        f"what answers at {invitation.place} is no coordinator of fedsms", why, "Check the line."
    )


def _said(invitation: Invitation, error: FedsmsError) -> FedsmsError:
    """A coordinator's error as ours: its words quoted."""
    advice = f". {error.next_step}" if error.next_step else ""
    kind = type(error)
    return kind(f"{invitation.place} answered", quoted(error.words + advice))
