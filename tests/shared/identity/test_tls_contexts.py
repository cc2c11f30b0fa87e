"""TLS of both sides without a socket: who is let in, by which OpenSSL says no, and who is told."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.authority.enrolment import spread_crl
from shared.errors import IdentityError
from shared.identity.certificates import crl_from_pem, key_from_pem
from shared.identity.folder import install_crl, load
from shared.identity.tls import blind_context, client_context, objection_of, server_context
from tests.helpers.identities import Federation, make_federation, unchecked_client, unchecked_server
from tests.helpers.made_certificates import resigned


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("ours"))
    made.coordinator()
    made.node("bob")
    return made


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("others"))


class Handshake:
    """Both sides' part in one handshake, in memory. failed: what each side raised, "" for none."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(to_client, to_server, server_hostname=None)
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        self.failed = {"client": "", "server": ""}
        for _ in range(10):
            self._step("client", self.client)
            self._step("server", self.server)
        if not any(self.failed.values()):
            self._read_alerts()

    def _step(self, name: str, side: ssl.SSLObject) -> None:
        if self.failed[name]:
            return
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self.failed[name] = getattr(error, "verify_message", "") or error.reason or str(error)

    def _read_alerts(self) -> None:
        """A client is done before the server has looked at its certificate."""
        with suppress(ssl.SSLWantReadError):
            self.client.read(1)

    @property
    def worked(self) -> bool:
        return not any(self.failed.values())


def node_context(ours: Federation, told: list[str] | None = None) -> ssl.SSLContext:
    def failed(error: ssl.SSLError) -> None:
        if told is not None:
            told.append(getattr(error, "verify_message", "") or error.reason or "")

    return server_context(load(ours.node("bob"), "node"), failed)


def test_two_members_shake_hands_and_each_sees_the_others_certificate(ours: Federation) -> None:
    told: list[str] = []
    both = Handshake(
        client_context(load(ours.coordinator(), "coordinator")), node_context(ours, told)
    )
    assert both.worked
    assert both.client.version() == both.server.version() == "TLSv1.3"
    for side, folder in ((both.client, ours.node("bob")), (both.server, ours.coordinator())):
        shown = ssl.DER_cert_to_PEM_cert(side.getpeercert(binary_form=True) or b"")
        assert shown.strip() == (folder / "certificate.pem").read_text().strip()
    assert told == []


def test_no_session_is_resumed_that_would_pass_by_the_list_of_revoked_ones(
    ours: Federation,
) -> None:
    both = Handshake(client_context(load(ours.coordinator(), "coordinator")), node_context(ours))
    assert both.client.session is None or not both.client.session.has_ticket
    assert not both.client.session_reused


CLIENTS: dict[str, tuple[Callable[[Federation, Federation], ssl.SSLContext], str]] = {
    "without a certificate": (
        lambda ours, others: unchecked_client(None),
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
    ),
    "of another federation": (
        lambda ours, others: unchecked_client(others.coordinator()),
        "unable to get local issuer certificate",
    ),
    "with an expired certificate": (
        lambda ours, others: unchecked_client(ours.expire(ours.coordinator("late"))),
        "certificate has expired",
    ),
    "with TLS 1.2": (
        lambda ours, others: unchecked_client(ours.coordinator(), ssl.TLSVersion.TLSv1_2),
        "UNSUPPORTED_PROTOCOL",
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_node_lets_nobody_in_who_is_no_member_of_its_federation(
    name: str, ours: Federation, others: Federation
) -> None:
    make, reason = CLIENTS[name]
    told: list[str] = []
    both = Handshake(make(ours, others), node_context(ours, told))
    assert both.failed["server"] == reason
    assert told == [reason]  # once, however often asyncio asks


SERVERS: dict[str, tuple[Callable[[Federation, Federation], ssl.SSLContext], str]] = {
    "of another federation": (
        lambda ours, others: unchecked_server(others.node("bob")),
        "unable to get local issuer certificate",
    ),
    "with an expired certificate": (
        lambda ours, others: unchecked_server(ours.expire(ours.node("late-node"))),
        "certificate has expired",
    ),
    "with TLS 1.2": (
        lambda ours, others: unchecked_server(ours.node("bob"), ssl.TLSVersion.TLSv1_2),
        "TLSV1_ALERT_PROTOCOL_VERSION",
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_coordinator_talks_to_nobody_who_is_no_member_of_its_federation(
    name: str, ours: Federation, others: Federation
) -> None:
    make, reason = SERVERS[name]
    both = Handshake(client_context(load(ours.coordinator(), "coordinator")), make(ours, others))
    assert both.failed["client"] == reason


def test_whoever_was_revoked_is_refused_by_both_sides_once_the_list_is_there(
    ours: Federation,
) -> None:
    gone, zoe = ours.coordinator("gone"), ours.node("zoe")
    assert Handshake(unchecked_client(gone), node_context(ours)).worked
    for name in ("gone", "zoe"):
        ours.authority.revoke(name)
    crl = crl_from_pem(ours.authority.crl())
    install_crl(ours.node("bob"), lambda: crl, Path("answer.pem"))
    spread_crl(ours.authority, ours.coordinator())
    told: list[str] = []
    both = Handshake(unchecked_client(gone), node_context(ours, told))
    assert (both.failed["server"], told) == ("certificate revoked", ["certificate revoked"])
    dialling = client_context(load(ours.coordinator(), "coordinator"))
    assert Handshake(dialling, unchecked_server(zoe)).failed["client"] == "certificate revoked"
    assert Handshake(dialling, node_context(ours)).worked  # the others go on


def test_a_blind_context_takes_anybody_for_reading_alone(others: Federation) -> None:
    assert Handshake(blind_context(), unchecked_server(others.node("bob"))).worked


@pytest.mark.parametrize("name", ["certificate.pem", "key.pem", "ca.pem", "crl.pem"])
def test_files_that_openssl_does_not_take_are_told(
    name: str, ours: Federation, tmp_path: Path
) -> None:
    folder = ours.coordinator(f"broken-{name[:2]}")
    own = load(folder, "coordinator")
    (folder / name).write_bytes(b"nothing of the kind")
    with pytest.raises(IdentityError, match="OpenSSL cannot use the files in"):
        client_context(own)


def test_where_everybody_comes_through_tls_no_certificate_is_told_from_one_that_is_not_good(
    ours: Federation, others: Federation
) -> None:
    own = load(ours.node("bob"), "node")

    def to(client: ssl.SSLContext) -> Handshake:
        return Handshake(client, server_context(own, lambda _: None, everybody=True))

    stranger = to(unchecked_client(None))
    assert stranger.worked
    assert stranger.server.getpeercert(binary_form=True) is None
    assert to(client_context(load(ours.coordinator(), "coordinator"))).worked
    assert not to(unchecked_client(others.coordinator())).worked
    assert not to(unchecked_client(ours.expire(ours.coordinator("late")))).worked


@pytest.mark.parametrize(
    ("usages", "dials", "listens"),
    [
        ((ExtendedKeyUsageOID.SERVER_AUTH,), False, True),  # a node's of before nodes dialled
        ((ExtendedKeyUsageOID.CLIENT_AUTH,), True, False),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), False, False),
        (None, True, True),
    ],
)
def test_a_certificate_of_an_older_version_is_used_for_what_it_was_made_for_alone(
    usages: tuple[x509.ObjectIdentifier, ...] | None, dials: bool, listens: bool, ours: Federation
) -> None:
    own = load(ours.node("older"), "node")
    ca_key = key_from_pem(ours.ca_key_path().read_bytes())
    usage = x509.ExtendedKeyUsage(usages) if usages else None
    own = replace(own, certificate=resigned(own.certificate, ca_key, usage=usage))

    def works(make: Callable[[], object]) -> bool:
        try:
            make()
        except IdentityError as error:
            return "older version" not in str(error)
        return True

    assert works(lambda: client_context(own)) is dials
    assert works(lambda: server_context(own, lambda _: None)) is listens


class StepByStep:
    """One side's handshake with bytes that are given to it."""

    def __init__(self, server: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.side = server.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def hears(self, data: bytes) -> type[ssl.SSLError]:
        """What it raises then."""
        self.incoming.write(data)
        with pytest.raises(ssl.SSLError) as caught:
            self.side.do_handshake()
        return type(caught.value)


def test_who_does_not_speak_tls_is_told_nothing_and_the_failure_comes_at_once(
    ours: Federation,
) -> None:
    told: list[str] = []
    server = StepByStep(node_context(ours, told))
    assert server.hears(b"") is ssl.SSLWantReadError  # it waits
    assert told == []
    assert server.hears(b"GET / HTTP/1.1\r\nHost: bob\r\n\r\n") is ssl.SSLError
    assert told == ["HTTP_REQUEST"]
    assert server.hears(b"") is ssl.SSLError  # the same again, told once
    assert told == ["HTTP_REQUEST"]


@pytest.mark.parametrize(
    ("name", "alert"),
    [
        ("without a certificate", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
        ("of another federation", "TLSV1_ALERT_UNKNOWN_CA"),
        ("with an expired certificate", "SSLV3_ALERT_CERTIFICATE_EXPIRED"),
        ("with TLS 1.2", "TLSV1_ALERT_PROTOCOL_VERSION"),
    ],
)
def test_who_is_refused_reads_in_an_alert_what_is_wrong(
    name: str, alert: str, ours: Federation, others: Federation
) -> None:
    """The server asks to read on, so that what it has written leaves first."""
    make, _ = CLIENTS[name]
    server = StepByStep(node_context(ours))
    to_client = ssl.MemoryBIO()
    client = make(ours, others).wrap_bio(to_client, server.incoming, server_hostname=None)
    ends: list[str] = []
    for _ in range(6):
        for step in (client.do_handshake, server.side.do_handshake, lambda: client.read(1)):
            try:
                step()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                ends.append(error.reason or "")
            to_client.write(server.outgoing.read())
    assert ends[0] == alert


def test_an_alert_is_told_in_words_a_known_one_and_another() -> None:
    assert objection_of("SSLV3_ALERT_CERTIFICATE_REVOKED") == "says that it was revoked"
    assert objection_of("TLSV1_ALERT_ACCESS_DENIED") == "says: tlsv1 alert access denied"


def test_no_host_name_is_looked_at_and_certificates_must_be_strictly_formed(
    ours: Federation,
) -> None:
    for context in (
        client_context(load(ours.coordinator(), "coordinator")),
        node_context(ours),
    ):
        assert context.check_hostname is False
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.verify_flags & ssl.VERIFY_CRL_CHECK_LEAF
