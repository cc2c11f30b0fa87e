"""The coordinator's port, and a node that dials: strangers, floods, slow peers and false names."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed, InvalidMessage

from server.nodes.addresses import NodeAddress
from server.nodes.port import Port, open_port
from shared.errors import NodeUnreachable
from shared.wire import bounded_connection
from shared.wire.frames import Kind, frame, pack_map, parse_frame, unpack_error, unpack_map
from shared.wire.gate import GateSettings
from shared.wire.handshake import Greeting
from shared.wire.timeouts import Timeouts
from shared.wire.transport import transport_options
from tests.attacks.scene import report
from tests.helpers.dialling_nodes import PATIENT, knocking_node
from tests.helpers.federating import until
from tests.helpers.identities import Federation, make_federation, unchecked_client, unchecked_server
from tests.helpers.peers import stranger

pytestmark = pytest.mark.timeout(120)
SECURE = "wss://127.0.0.1:0"
PATIENCE = 60.0


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    made = make_federation(tmp_path / "ours")
    made.coordinator()
    return made


@pytest.fixture
def others(tmp_path: Path) -> Federation:
    made = make_federation(tmp_path / "others")
    made.coordinator()
    return made


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@asynccontextmanager
async def listens(ours: Federation, *awaited: str, timeouts: Timeouts = PATIENT) -> Any:
    async with open_port(SECURE, awaited or ("bob",), ours.coordinator(), timeouts) as port:
        yield port


async def bob_comes_in(port: Port, ours: Federation) -> None:
    """Whatever happened before, bob dials in and answers."""
    async with knocking_node(port.url, ours.node("bob")):
        link = await port.link(NodeAddress("bob", port.url, dials_in=True))
        assert await link.round_trip() > 0
        await link.close()


async def is_refused_in_tls(url: str, context: ssl.SSLContext) -> None:
    with pytest.raises((OSError, EOFError, InvalidMessage)):
        async with connect(url, ssl=context, proxy=None) as connection:
            await connection.recv()


def test_strangers_at_the_coordinators_port_are_refused_in_tls(
    ours: Federation, others: Federation
) -> None:
    async def scene() -> None:
        late = ours.expire(ours.node("late"))
        gone = ours.node("gone")
        ours.authority.revoke("gone")
        own = ours.coordinator()
        (own / "crl.pem").write_bytes(ours.authority.crl())
        async with listens(ours, "bob", "late", "gone") as port:
            for folder in (None, others.node("bob"), late, gone):
                await is_refused_in_tls(port.url, unchecked_client(folder))
            older = unchecked_client(ours.node("bob"), ssl.TLSVersion.TLSv1_2)
            await is_refused_in_tls(port.url, older)
            await bob_comes_in(port, ours)

    run(scene())
    report("dial in without a good certificate", "it never listens", "refused in TLS")


def test_who_is_revoked_while_the_port_stands_does_not_come_in_again(ours: Federation) -> None:
    async def scene() -> None:
        own = ours.coordinator()
        async with listens(ours) as port:
            await bob_comes_in(port, ours)
            ours.authority.revoke("bob")
            (own / "crl.pem").write_bytes(ours.authority.crl())
            async with knocking_node(port.url, ours.node("bob")) as line:
                await until(lambda: "was revoked" in line.state, "its refusal")
            (own / "crl.pem").write_bytes(b"nothing of the kind")
            async with knocking_node(port.url, ours.node("anne")) as line:
                await until(lambda: "was revoked" in line.state, "its refusal")

    run(scene())


@pytest.mark.parametrize("role", ["another coordinator", "another node"])
def test_a_good_certificate_of_somebody_else_does_not_get_bobs_place(
    ours: Federation, role: str
) -> None:
    """It greets as bob, whom the coordinator awaits."""
    folder = ours.node("anne") if role == "another node" else ours.coordinator("mallory")

    async def scene() -> None:
        async with listens(ours) as port:
            context = unchecked_client(folder)
            async with connect(port.url, ssl=context, proxy=None, **transport_options()) as peer:
                with pytest.raises(ConnectionClosed) as ended:
                    await peer.recv()
                assert ended.value.rcvd is not None
                assert ended.value.rcvd.code in (1008, 1013)
            await bob_comes_in(port, ours)

    run(scene())
    report("dial in as another node", "it never listens", "refused by name")


def test_a_node_whose_certificate_and_greeting_differ_is_refused(ours: Federation) -> None:
    async def scene() -> None:
        async with listens(ours) as port:
            context = unchecked_client(ours.node("bob"))
            async with connect(port.url, ssl=context, proxy=None, **transport_options()) as peer:
                hello = parse_frame(await peer.recv())
                false = Greeting(role="node", id="anne", rows={"train": 9})
                await peer.send(frame(Kind.HELLO, hello.request_id, pack_map(false.to_map())))
                with pytest.raises(ConnectionClosed):
                    await peer.recv()
            with pytest.raises(Exception, match="do not fit together"):
                await port.link(NodeAddress("bob", port.url, dials_in=True))

    run(scene())


def test_a_flood_of_connections_does_not_keep_an_owner_out(ours: Federation) -> None:
    """From another address, many of which never say a word, and many of which hang up at once."""
    gate = GateSettings()

    async def flood(port: int, crowd: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2 * gate.strangers_of_one):
            one = socket.socket()
            one.setblocking(False)
            one.bind(("127.0.0.2", 0))
            crowd.append(one)
            with suppress(ConnectionResetError):  # turned away
                await loop.sock_connect(one, ("127.0.0.1", port))

    async def scene() -> None:
        async with listens(ours) as port:
            number = int(port.url.rpartition(":")[2])
            crowd: list[socket.socket] = []
            try:
                await flood(number, crowd)
                await bob_comes_in(port, ours)
            finally:
                for one in crowd:
                    one.close()

    run(scene())
    report("a flood of connections while owners dial in", "it never listens", "owners come in")


OPENINGS = {
    "says nothing": b"",
    "begins TLS": b"\x16\x03\x01\x02\x00\x01",
    "says what is no TLS": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("name", OPENINGS)
def test_who_is_slow_before_tls_is_done_is_hung_up_on(ours: Federation, name: str) -> None:
    async def scene() -> None:
        brief = Timeouts(handshake_timeout=0.5, heartbeat=0, dial_in_wait=60)
        async with listens(ours, timeouts=brief) as port:
            number = int(port.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", number)
            writer.write(OPENINGS[name])
            async with asyncio.timeout(PATIENCE):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await reader.readexactly(10**6)
            writer.close()

    run(scene())


def test_a_node_that_comes_in_and_does_not_greet_is_hung_up_on(ours: Federation) -> None:
    async def scene() -> None:
        brief = Timeouts(handshake_timeout=0.5, heartbeat=0, dial_in_wait=60)
        async with listens(ours, timeouts=brief) as port:
            context = unchecked_client(ours.node("bob"))
            async with connect(port.url, ssl=context, proxy=None, **transport_options()) as peer:
                await peer.recv()  # the coordinator's greeting
                async with asyncio.timeout(PATIENCE):
                    with pytest.raises(ConnectionClosed):
                        await peer.recv()

    run(scene())


def test_a_node_that_dials_in_sends_no_more_than_a_greeting_before_it_is_known() -> None:
    async def scene() -> None:
        too_much = bytes(bounded_connection.GREETING_BYTES + 1)
        async with open_port("ws://127.0.0.1:0", {"bob"}, timeouts=PATIENT) as port:
            async with stranger(port.url) as peer:
                await peer.connection.recv()
                await peer.connection.send(too_much)
                await peer.connection.wait_closed()
                assert peer.connection.close_code == 1009
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await port.link(NodeAddress("bob", port.url, dials_in=True))

    run(scene())


# Who answers where a node dials


@asynccontextmanager
async def false_coordinator(context: ssl.SSLContext) -> Any:
    """Greets whoever dials; gives its URL, and what came back."""
    answers: list[Any] = []

    async def handler(connection: ServerConnection) -> None:
        hello = pack_map(Greeting(role="coordinator", id="coordinator", expects="bob").to_map())
        await connection.send(frame(Kind.HELLO, bytes(16), hello))
        with suppress(ConnectionClosed):
            while True:
                answers.append(parse_frame(await connection.recv()))

    async with serve_websockets(handler, "127.0.0.1", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://127.0.0.1:{port}", answers


def test_a_node_tells_nothing_to_a_false_coordinator_that_it_dialled(
    ours: Federation, others: Federation
) -> None:
    async def scene() -> None:
        bob = ours.node("bob")
        for folder in (others.coordinator(), ours.expire(ours.coordinator("late"))):
            async with false_coordinator(unchecked_server(folder)) as (url, answers):
                async with knocking_node(url, bob) as line:
                    await until(lambda: "not good here" in line.state, "its word")
                assert answers == []
        # good certificates, of a node and of a coordinator that the owner has not named
        for folder in (ours.node("anne"), ours.coordinator("mallory")):
            async with false_coordinator(unchecked_server(folder)) as (url, answers):
                async with knocking_node(url, bob) as line:
                    await until(lambda: bool(answers), "an answer")
                    await until(lambda: "knocking" in line.state, "its word")
                answer = answers[0]
                assert answer.kind is Kind.REFUSED
                told = unpack_map(answer.payload)
                assert set(told) == {"error"}  # and no word of the owner's rows
                assert re.search("works? with", unpack_error(told["error"]).fact)

    run(scene())
    report("answer where a node dials, as another", "it never dials", "told no fact")


def test_a_node_takes_no_large_message_of_whom_it_dialled_before_it_is_known() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(bytes(bounded_connection.GREETING_BYTES + 1))
        await connection.wait_closed()
        codes.append(connection.close_code)

    codes: list[int | None] = []

    async def scene() -> None:
        async with serve_websockets(handler, "127.0.0.1", 0, max_size=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with knocking_node(f"ws://127.0.0.1:{port}"):
                await until(lambda: bool(codes), "the end of the connection")

    run(scene())
    assert codes[0] == 1009


def test_a_coordinator_that_falls_silent_is_given_up_and_dialled_again() -> None:
    """Its line is not closed: it stops reading, as a machine does that has lost its power."""
    calls: list[ServerConnection] = []

    async def handler(connection: ServerConnection) -> None:
        calls.append(connection)
        hello = pack_map(Greeting(role="coordinator", id="a-test", expects="bob").to_map())
        await connection.send(frame(Kind.HELLO, bytes(16), hello))
        await connection.recv()
        connection.transport.pause_reading()
        await connection.wait_closed()

    async def scene() -> None:
        silent = Timeouts(heartbeat=0.5, handshake_timeout=60)
        options = transport_options()
        async with serve_websockets(handler, "127.0.0.1", 0, **options) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with knocking_node(f"ws://127.0.0.1:{port}", timeouts=silent):
                await until(lambda: len(calls) > 1, "a second call")
            for one in calls:
                one.transport.abort()

    run(scene())


def test_a_node_that_falls_silent_is_lost_to_the_coordinator_too() -> None:
    async def scene() -> None:
        silent = Timeouts(heartbeat=0.5, handshake_timeout=60, dial_in_wait=60)
        opened = open_port("ws://127.0.0.1:0", {"bob"}, timeouts=silent)
        async with opened as port, stranger(port.url) as peer:
            hello = parse_frame(await peer.connection.recv())
            ours = pack_map(Greeting(role="node", id="bob").to_map())
            await peer.connection.send(frame(Kind.HELLO, hello.request_id, ours))
            link = await port.link(NodeAddress("bob", port.url, dials_in=True))
            peer.connection.transport.pause_reading()
            assert isinstance(await link.loss, NodeUnreachable)
            peer.connection.transport.abort()

    run(scene())
