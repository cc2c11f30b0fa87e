"""Mutual TLS over real sockets: who is let in, who is not, and what each side is told of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import InvalidMessage

from scripts.local.nodes import LocalNode, local_nodes
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from shared.errors import FedsmsError, HandshakeRefused, IdentityError
from shared.identity.certificates import certificate_from_pem, fingerprint
from shared.wire.frames import Frame, Kind, frame, pack_map, parse_frame, unpack_error, unpack_map
from shared.wire.handshake import Greeting
from shared.wire.transport import transport_options
from tests.conftest import OwnerFiles
from tests.helpers.identities import Federation, make_federation, unchecked_client, unchecked_server
from tests.helpers.peers import Peer
from tests.helpers.running import Finished, until

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A federation; the coordinator `gone` is revoked before the nodes join."""
    made = make_federation(tmp_path_factory.mktemp("ours"))
    made.coordinator()
    made.coordinator("gone")
    made.authority.revoke("gone")
    return made


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def secured(ours: Federation, owners: list[OwnerFiles]) -> Iterator[list[LocalNode]]:
    """Anne's and bob's nodes with their identities."""
    flags = {one.id: (*one.flags, "--identity", str(ours.node(one.id))) for one in owners}
    with local_nodes(flags) as running:
        yield running


@pytest.fixture(scope="module")
def bob(secured: list[LocalNode]) -> LocalNode:
    return secured[1]


@pytest.fixture(autouse=True)
def still_serves(bob: LocalNode, ours: Federation) -> Iterator[None]:
    """After each test bob answers his coordinator as before."""
    yield
    assert dialled("bob", bob.url, ours.coordinator()).greeting.rows["train"] == 140


def dialled(node_id: str, url: str, identity: Path) -> Any:
    """The link of a coordinator that dials and leaves; its greeting is what counts."""

    async def session() -> Any:
        link = await dial(NodeAddress(node_id, url), identity)
        await link.close()
        return link

    return asyncio.run(session())


def refusal(node_id: str, url: str, identity: Path) -> FedsmsError:
    with pytest.raises(HandshakeRefused) as caught:
        dialled(node_id, url, identity)
    return caught.value


def says(error: FedsmsError, *words: str) -> None:
    for word in words:
        assert word in str(error), error


# Together


def digest(done: Finished) -> tuple[Path, str]:
    assert done.code == 0, done.err
    folder = Path(json.loads(done.out.splitlines()[-1])["run"])
    return folder, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_training_over_tls_ends_with_the_same_weights_and_says_whose_certificates(
    cli: Cli, ours: Federation, secured: list[LocalNode], node_flags: list[str], quick: Path
) -> None:
    train = ("server", "train", "--json", "--recipe", quick)
    flags = [part for node in secured for part in ("--node", node.flag)]
    identity = ("--identity", ours.coordinator())
    assert all("wss://" in node.url for node in secured)
    folder, over_tls = digest(cli(*train, *flags, *identity))
    plain, without = digest(cli(*train, *node_flags))
    assert over_tls == without
    told = json.loads((folder / "settings.json").read_text())["nodes"]
    for node in secured:
        own = certificate_from_pem((ours.node(node.id) / "certificate.pem").read_bytes())
        assert told[node.id]["certificate"] == fingerprint(own)
    assert json.loads((plain / "settings.json").read_text())["nodes"]["bob"]["certificate"] is None
    assert not any(b"PRIVATE" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_evaluate_and_status_take_the_identity_too(
    cli: Cli, ours: Federation, bob: LocalNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("server", "status", "--node", bob.flag).code == 8
    monkeypatch.setenv("FEDSMS_IDENTITY", str(ours.coordinator()))
    assert cli("server", "status", "--node", bob.flag).code == 0
    assert cli("server", "evaluate", "--node", bob.flag).code == 7  # no model; the flag is known


def test_the_host_in_the_address_does_not_matter(bob: LocalNode, ours: Federation) -> None:
    url = bob.url.replace("127.0.0.1", "localhost")
    assert dialled("bob", url, ours.coordinator()).greeting.id == "bob"


# Coordinators that a node does not let in


class Heard(ClientConnection):
    """Remembers the TLS alert that ended it."""

    alerts: list[str]

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ssl.SSLError):
            type(self).alerts.append(exc.reason or "")
        super().connection_lost(exc)


def alert(url: str, context: ssl.SSLContext) -> str:
    """What a node answers, by alert, to whoever dials so; it must not come to a session."""

    class Hears(Heard):
        alerts: list[str] = []  # noqa: RUF012 - one list a call

    async def attempt() -> None:
        async with connect(url, ssl=context, proxy=None, create_connection=Hears):
            raise AssertionError("the node let somebody in")

    try:
        asyncio.run(attempt())
    except ssl.SSLError as error:
        return error.reason or ""
    except InvalidMessage:
        return Hears.alerts[0]
    raise AssertionError("the node gave no answer")


def test_whoever_has_no_good_certificate_of_a_coordinator_is_kept_out_and_told(
    bob: LocalNode, ours: Federation, others: Federation
) -> None:
    late = ours.expire(ours.coordinator("ended"))
    strangers = {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": unchecked_client(None),
        "TLSV1_ALERT_UNKNOWN_CA": unchecked_client(others.coordinator()),
        "SSLV3_ALERT_CERTIFICATE_EXPIRED": unchecked_client(late),
        "SSLV3_ALERT_CERTIFICATE_REVOKED": unchecked_client(ours.coordinator("gone")),
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": unchecked_client(
            ours.make_older(ours.node("older"))
        ),
        "TLSV1_ALERT_PROTOCOL_VERSION": unchecked_client(
            ours.coordinator(), ssl.TLSVersion.TLSv1_2
        ),
    }
    for expected, context in strangers.items():
        assert alert(bob.url, context) == expected
    for words in ("has no certificate", "has expired", "revoked", "purpose", "no TLS 1.3"):
        until(lambda: any(words in line for line in bob.log), f"{words} in bob's log")  # noqa: B023
    assert not any("Traceback" in line for line in bob.log)


def test_certificates_of_an_older_version_still_serve_where_nodes_are_dialled(
    ours: Federation, owners: list[OwnerFiles]
) -> None:
    node, coordinator = (
        ours.make_older(folder) for folder in (ours.node("aged"), ours.coordinator("aged-too"))
    )
    (node / "coordinators.txt").write_text("aged-too\n", encoding="utf-8")
    with local_nodes({"aged": (*owners[1].flags, "--identity", str(node))}) as (aged,):
        assert dialled("aged", aged.url, coordinator).greeting.rows["train"] == 140


def test_a_revoked_coordinator_is_told_what_the_node_objects_to(
    bob: LocalNode, ours: Federation
) -> None:
    folder = ours.coordinator("gone")
    error = refusal("bob", bob.url, folder)
    says(error, "node bob", "does not accept this coordinator's certificate", "it was revoked")
    says(error, "coordinator gone", str(folder), "valid here until")


def test_a_coordinator_that_the_owner_did_not_allow_is_refused_by_name(
    bob: LocalNode, ours: Federation
) -> None:
    second = ours.coordinator("second")
    error = refusal("bob", bob.url, second)
    says(error, "node bob does not work with coordinator second", "coordinators.txt")
    until(lambda: any("second refused" in line for line in bob.log), "the refusal in bob's log")

    async def session() -> dict[str, Any]:
        context = unchecked_client(second)
        async with connect(bob.url, ssl=context, proxy=None, **transport_options()) as connection:
            answer = await Peer(connection).greet(Greeting(role="coordinator", id="coordinator"))
            assert answer.kind is Kind.REFUSED
            return unpack_map(answer.payload)

    told = asyncio.run(session())
    assert set(told) == {"error"}  # and no word of the owner's rows
    assert "second" in unpack_error(told["error"]).fact


def test_the_log_names_a_coordinator_by_its_certificate_and_not_by_its_claim(
    bob: LocalNode, ours: Federation
) -> None:
    async def session() -> None:
        context = unchecked_client(ours.coordinator())
        async with connect(bob.url, ssl=context, proxy=None, **transport_options()) as connection:
            await Peer(connection).greet(Greeting(role="coordinator", id="mallory"))

    bob.log.clear()
    asyncio.run(session())
    until(lambda: any("coordinator left" in line for line in bob.log), "a line in bob's log")
    assert not any("mallory" in line for line in bob.log)


def test_strangers_without_tls_neither_flood_the_log_nor_print_traces(bob: LocalNode) -> None:
    async def knock(words: bytes) -> None:
        reader, writer = await asyncio.open_connection(*NodeAddress("bob", bob.url).endpoint)
        writer.write(words)
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    bob.log.clear()
    for words in (b"", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05hello"):
        for _ in range(5):
            asyncio.run(knock(words))
    assert not any("Traceback" in line for line in bob.log)
    assert len(bob.log) <= 6


# Nodes that a coordinator does not accept


@asynccontextmanager
async def impostor(context: ssl.SSLContext) -> Any:
    """A false node with a certificate of the test's; it notes each greeting that reaches it."""
    greeted: list[Frame] = []

    async def handler(connection: ServerConnection) -> None:
        async for data in connection:
            hello = parse_frame(data)
            greeted.append(hello)
            answer = pack_map(Greeting(role="node", id="bob").to_map())
            await connection.send(frame(Kind.HELLO, hello.request_id, answer))

    async with serve_websockets(handler, "127.0.0.1", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://127.0.0.1:{port}", greeted


def refused_impostor(context: ssl.SSLContext, identity: Path) -> FedsmsError:
    async def session() -> FedsmsError:
        async with impostor(context) as (url, greeted):
            with pytest.raises(HandshakeRefused) as caught:
                await dial(NodeAddress("bob", url), identity)
            assert greeted == []
            return caught.value

    return asyncio.run(session())


def test_a_node_with_a_certificate_that_is_not_bobs_is_refused_before_a_word_is_said(
    ours: Federation, others: Federation
) -> None:
    late = ours.expire(ours.node("late"))
    ended = certificate_from_pem((late / "certificate.pem").read_bytes()).not_valid_after_utc
    cases = {
        ours.node("anne"): ("it is node anne", "Check the address given for bob"),
        others.node("bob"): ("another federation", "node bob", "this coordinator belongs to"),
        ours.coordinator(): ("and no node", "coordinator coordinator"),
        late: ("it has expired", "node late", f"until {ended:%Y-%m-%d %H:%M}", "init --id bob"),
    }
    for folder, words in cases.items():
        error = refused_impostor(unchecked_server(folder), ours.coordinator())
        says(error, "bob", *words)
        says(error, "fingerprint")


def test_a_node_without_tls_1_3_is_refused(ours: Federation) -> None:
    context = unchecked_server(ours.node("anne"), ssl.TLSVersion.TLSv1_2)
    says(refused_impostor(context, ours.coordinator()), "TLS 1.3")


def test_a_revoked_node_is_refused_at_the_next_connection(
    cli: Cli, ours: Federation, owners: list[OwnerFiles]
) -> None:
    own = ours.coordinator()
    (own / "crl.pem").write_bytes(ours.authority.crl())
    flags = (*owners[0].flags, "--identity", str(ours.node("carol")))
    with local_nodes({"carol": flags}) as (carol,):
        status = ("server", "status", "--node", carol.flag, "--identity", own)
        assert cli(*status).code == 0
        authority = ("--authority", ours.authority.folder, "--identity", own)
        assert cli("server", "revoke", "carol", *authority).code == 0
        done = cli(*status)
    assert done.code == 5
    for word in ("it was revoked on", "node carol", "python -m worker_node init"):
        assert word in done.err


# The wrong scheme, and identities that cannot be used


def test_ws_to_a_node_with_tls_is_told_the_right_address(bob: LocalNode, ours: Federation) -> None:
    plain = bob.url.replace("wss://", "ws://")
    says(refusal("bob", plain, ours.coordinator()), "wants TLS", "node bob", f"bob={bob.url}")


def test_wss_to_a_node_without_tls_is_told_the_right_address(
    nodes: list[LocalNode], ours: Federation
) -> None:
    url = nodes[1].url
    error = refusal("bob", url.replace("ws://", "wss://"), ours.coordinator())
    says(error, "speaks no TLS", f"bob={url}")


def test_a_coordinator_does_not_dial_with_an_identity_that_is_not_good(
    bob: LocalNode, ours: Federation, tmp_path: Path
) -> None:
    for folder, word in (
        (tmp_path, "python -m server init"),
        (ours.node("anne"), "a coordinator's is needed"),
        (ours.expire(ours.coordinator("old")), "python -m server renew"),
    ):
        with pytest.raises(IdentityError) as caught:
            dialled("bob", bob.url, folder)
        says(caught.value, word)


def soon_to_end(ours: Federation, folder: Path) -> Path:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    return ours.resign(folder, now - timedelta(days=1), now + timedelta(days=10))


def test_a_node_whose_certificate_ends_soon_serves_and_warns(
    ours: Federation, owners: list[OwnerFiles]
) -> None:
    folder = soon_to_end(ours, ours.node("dora"))
    (folder / "key.pem").chmod(0o644)
    with local_nodes({"dora": (*owners[0].flags, "--identity", str(folder))}) as (dora,):
        assert dialled("dora", dora.url, ours.coordinator()).greeting.id == "dora"
    assert any("the certificate of node dora ends at" in line for line in dora.log)
    assert any("others than you may read" in line for line in dora.log)


def test_a_coordinator_whose_certificate_ends_soon_works_and_warns(
    cli: Cli, ours: Federation, bob: LocalNode
) -> None:
    folder = soon_to_end(ours, ours.coordinator("soon"))
    done = cli("server", "status", "--node", bob.flag, "--identity", folder)
    assert "the certificate of coordinator soon ends at" in done.err
    assert "python -m server renew" in done.err
