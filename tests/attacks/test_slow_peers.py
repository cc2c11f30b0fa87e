"""Slow loris: who takes for ever over TCP, TLS, the HTTP request, the greeting, or a message."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from shared.identity.folder import load
from shared.identity.tls import server_context
from shared.pysyft import ObjectMessage, ObjectRequestMessage
from shared.wire import bounded_connection
from shared.wire.bounded_connection import unsent_bytes
from shared.wire.frames import Kind
from shared.wire.timeouts import Timeouts
from tests.attacks.scene import report
from tests.helpers.identities import Federation, make_federation, unchecked_client
from tests.helpers.node_requests import pack, run
from tests.helpers.peers import coordinator, stranger
from worker_node.data.shard import Message, Shard
from worker_node.membership.admission import Admission, make_admission
from worker_node.node import DataOwnerNode
from worker_node.serving import listener
from worker_node.training.trainer_process import TrainerProcess

SHORT = 0.3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can wait for."""
    monkeypatch.setattr(bounded_connection, "MESSAGE_SECONDS", SHORT)
    monkeypatch.setattr(bounded_connection, "STALLED_SECONDS", SHORT)
    monkeypatch.setattr(bounded_connection, "CHECK_SECONDS", SHORT / 4)


@asynccontextmanager
async def serving(
    admission: Admission | None = None, handshake: float = SHORT
) -> AsyncIterator[str]:
    """A node in this process, whose trainer nobody needs.

    Args:
        handshake: seconds that it waits for one, of TLS, of HTTP and of its own.
    """
    shard = Shard((Message(0, "a"), Message(1, "b")), (Message(0, "c"), Message(1, "d")))
    timeouts = Timeouts(handshake_timeout=handshake)
    node = DataOwnerNode("bob", shard, TrainerProcess(shard), timeouts=timeouts)
    async with listener.listening(node, "127.0.0.1", 0, admission) as url:
        yield url


async def is_hung_up_on(url: str, first: bytes, drip: bytes) -> None:
    """Sends some bytes, then one at a time, until the node has had enough."""
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)

    async def dripping() -> None:
        while drip:
            writer.write(drip)
            await asyncio.sleep(SHORT / 10)

    slowly = asyncio.create_task(dripping())
    try:
        async with asyncio.timeout(30):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(10**6)
    finally:
        slowly.cancel()
        writer.transport.abort()


PING = Frame(Opcode.PING, b"").serialize(mask=True, extensions=[])


OPENINGS: dict[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "drips an HTTP request": (b"GET / HTTP/1.1\r\n", b"X"),
    "sends headers without end": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", OPENINGS)
def test_who_is_slow_to_open_is_hung_up_on_and_others_are_served(name: str) -> None:
    async def scene() -> None:
        async with serving() as url:
            await is_hung_up_on(url, *OPENINGS[name])
            async with coordinator(url):
                pass

    run(scene())
    report("a slow peer, in any phase", "not run here", "hung up on; others are served")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a piece"])
def test_who_is_slow_in_tls_is_hung_up_on(tmp_path: Path, first: bytes) -> None:
    from server.authority.folder import make_authority
    from shared.identity import folder as identity

    federation = Federation(tmp_path, make_authority(tmp_path / "authority")[0])
    federation.coordinator()
    own = identity.load(federation.node("bob"), "node")

    async def scene() -> None:
        async with serving(make_admission(own, ["coordinator"])) as url:
            await is_hung_up_on(url, first, b"\x00" if first else b"")

    run(scene())


@pytest.mark.usefixtures("impatient")
def test_who_opens_and_then_does_not_greet_is_hung_up_on() -> None:
    async def scene() -> None:
        async with serving() as url, stranger(url) as peer:
            with pytest.raises(ConnectionClosed, match="no handshake in time"):
                await peer.receive()

    run(scene())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fragments", [False, True])
def test_a_message_that_never_comes_to_its_end_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, fragments: bool
) -> None:
    monkeypatch.setattr(bounded_connection, "SLOWEST_BYTES", 10_000.0)

    async def scene() -> None:
        async with serving() as url, coordinator(url) as peer:
            # a frame of 1,000 bytes, or one of a message that goes on; then a byte at a time
            first = b"\x02\x81\0\0\0\0x" if fragments else b"\x82\xfe\x03\xe8\0\0\0\0"
            drip = b"\x00\x81\0\0\0\0x" if fragments else b"x"
            peer.connection.transport.write(first)
            waiting = asyncio.create_task(peer.connection.recv())
            async with asyncio.timeout(30):
                while not waiting.done():
                    peer.connection.transport.write(drip)
                    await asyncio.wait([waiting], timeout=SHORT / 10)
            with pytest.raises(ConnectionClosed):
                waiting.result()

    run(scene())


@pytest.mark.usefixtures("impatient")
def test_who_takes_nothing_of_what_is_sent_is_hung_up_on() -> None:
    """It asks for more than the line takes and reads none of it; else it would keep its place."""

    async def scene() -> None:
        async with serving() as url, coordinator(url) as peer:
            for number in range(3):
                large: Any = torch.zeros(4_000_000)
                large.id = number
                assert (await peer.ask(pack(ObjectMessage(large)))).kind is Kind.REPLY
            peer.connection.transport.pause_reading()
            for number in range(3):
                await peer.send(Kind.REQUEST, pack(ObjectRequestMessage(number, None, "")))
            async with asyncio.timeout(30):
                while not peer.connection.transport.is_closing():
                    peer.connection.transport.write(PING)  # a broken line shows in writing
                    await asyncio.sleep(SHORT / 10)
            async with coordinator(url):
                pass

    run(scene())


def test_what_waits_below_tls_is_seen_to_wait(tmp_path: Path) -> None:
    """asyncio's TLS hands an answer to the transport below at once; a line that takes some of it
    would look like one that takes nothing."""
    federation = make_federation(tmp_path)
    client = unchecked_client(federation.coordinator())
    server = server_context(load(federation.node("bob"), "node"), lambda error: None)
    seen: list[tuple[int, int]] = []

    async def scene() -> None:
        looked = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transport = writer.transport
            transport.write(bytes(16 * 2**20))
            seen.append((transport.get_write_buffer_size(), unsent_bytes(transport)))
            looked.set()
            transport.abort()

        serving_tls = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
        port = serving_tls.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        await looked.wait()
        writer.transport.abort()
        serving_tls.close()

    run(scene())
    ((_, waiting),) = seen
    assert waiting > 2**20


def test_one_address_does_not_take_all_places_of_those_who_come() -> None:
    """Connections that never greet; somebody of another address still comes in."""

    async def scene() -> None:
        async with serving(handshake=10) as url:
            port = int(url.rpartition(":")[2])
            crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
            try:
                await asyncio.sleep(0)
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=("127.0.0.2", 0)
                )
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                async with asyncio.timeout(30):
                    assert (await reader.readline()).startswith(b"HTTP/1.1 ")
                writer.close()
            finally:
                for one in crowd:
                    one.close()

    run(scene())


def test_of_many_connections_at_once_some_are_turned_away_and_counted_down_again() -> None:
    from shared.wire.gate import Gate, GateSettings

    now = [0.0]
    gate = Gate(GateSettings(strangers_of_one=3, burst=6, rate=1), clock=lambda: now[0])
    addresses: list[tuple[Any, ...]] = [("10.0.0.1", port) for port in range(10)]
    assert [gate.admit(one) for one in addresses[:4]] == [True, True, True, False]
    assert gate.admit(("10.0.0.2", 1))  # another address
    gate.greeted(addresses[0])
    gate.left(addresses[1])
    assert [gate.admit(one) for one in addresses[4:7]] == [True, True, False]
    for one in addresses:
        gate.left(one)
        gate.left(one)
    assert gate.admit(addresses[7])  # the last of the six at once
    assert not gate.admit(addresses[8])
    now[0] = 1.0
    assert gate.admit(addresses[8])
