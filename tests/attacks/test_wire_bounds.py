"""The table "What bounds the wire" of docs/security.md: its numbers are the code's, and each is
tried at the bound and one above it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from shared.identity import folder as identity
from shared.pointers.commands import OPEN_POINTERS
from shared.pointers.frames import Item, pack_commands
from shared.pysyft.messages import content_rules, item_count
from shared.pysyft.messages.errors import MalformedMessage
from shared.wire import bounded_connection
from shared.wire.frames import Kind
from shared.wire.gate import Gate, GateSettings
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts
from shared.wire.transport import transport_options
from tests.attacks.security_page import table_rows
from tests.helpers.identities import make_federation, unchecked_client
from tests.helpers.node_requests import command, reply, run
from tests.helpers.peers import PATIENCE_SECONDS, Peer, coordinator, stranger
from tests.helpers.served_nodes import served_node
from worker_node import node as rounds_node
from worker_node.guarding import pace
from worker_node.guarding.rules.pointers import PointerBounds
from worker_node.membership.admission import make_admission
from worker_node.pointers import store
from worker_node.serving import door

GATE = GateSettings()
POINTERS = PointerBounds()
KIB, MIB = 2**10, 2**20


def test_the_page_has_the_bounds_of_the_code() -> None:
    wire = bounded_connection
    bounds = {
        "TLS handshake, HTTP request, greeting": f"{DEFAULT_TIMEOUTS.handshake_timeout:g} s each; "
        "HTTP sizes as websockets bounds them",
        "connections of one address": f"{GATE.strangers_of_one} in their handshake, "
        f"{GATE.rate:g} a second after the first {GATE.burst:g}; refused before TLS",
        "connections in all": f"{GATE.strangers} in their handshake, {GATE.connections} in all, "
        f"{door.MAX_SESSIONS} sessions, {door.MAX_SESSIONS_OF_ONE} of one coordinator",
        "first message": f"{wire.GREETING_BYTES // KIB} KiB",
        "later messages": "4 bytes a parameter that the policy allows, and 1 MiB",
        "a message": f"{wire.MESSAGE_SECONDS:g} s, and one more for each "
        f"{wire.SLOWEST_BYTES / KIB:g} KiB that came",
        "an answer that nobody takes": f"{wire.STALLED_SECONDS:g} s without a byte",
        "requests of one coordinator": f"{pace.BURST:,g} at once, then {pace.RATE:g} a second; "
        "more of them wait; frames of pointer commands are not counted",
        "messages that wait": "bytes of one message, beside the one under way",
        "pings and pongs": f"{wire.CONTROL_BURST} at once, {wire.CONTROL_RATE:g} a second",
        "values in a PySyft message": f"{item_count.MAX_VALUES:,}, counted before one is built; "
        f"{content_rules._MAX_DEPTH} levels",
        "objects a session keeps": f"{rounds_node.MAX_OBJECTS}, and {rounds_node.MAX_STATES} times "
        "the bytes of the largest message; what work will add is counted when it is asked for",
        "scores": "as many rows at a time as the recipe's bound on memory allows",
        "pointer mode": f"a process a session: {POINTERS.megabytes // KIB} GiB (Linux), "
        f"{POINTERS.seconds} s a frame of commands, {store.MAX_OBJECTS:,} objects",
    }
    assert dict(table_rows("What bounds the wire", "what")) == bounds


async def closing_code(peer: Peer) -> int | None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await peer.connection.wait_closed()
    return peer.connection.close_code


@pytest.mark.parametrize(("size", "code"), [(64 * KIB, 1002), (64 * KIB + 1, 1009)])
def test_a_first_message_is_read_up_to_its_bound(size: int, code: int) -> None:
    """At the bound it is read, and is no greeting; above it nobody reads it."""

    async def scene() -> None:
        async with served_node() as url, stranger(url) as peer:
            await peer.connection.send(bytes(size))
            assert await closing_code(peer) == code

    run(scene())


@pytest.mark.parametrize("parameters", [1, 1000])
@pytest.mark.parametrize(("more", "code"), [(0, 1002), (1, 1009)])
def test_a_later_message_is_as_large_as_the_policys_model_and_a_mebibyte(
    parameters: int, more: int, code: int
) -> None:
    async def scene() -> None:
        async with (
            served_node({"recipe": {"parameters": parameters}}) as url,
            coordinator(url) as peer,
        ):
            await peer.connection.send(bytes(4 * parameters + MIB + more))
            assert await closing_code(peer) == code

    run(scene())


def test_pings_are_answered_up_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_connection, "CONTROL_RATE", 1e-9)  # none is gained meanwhile
    ping = WebSocketFrame(Opcode.PING, b"").serialize(mask=True, extensions=[])

    async def scene() -> None:
        async with served_node() as url, coordinator(url) as peer:
            peer.connection.transport.write(ping * 255)
            await asyncio.wait_for(await peer.connection.ping(), PATIENCE_SECONDS)  # the 256th
            peer.connection.transport.write(ping)
            assert await closing_code(peer) == 1008

    run(scene())


@pytest.mark.parametrize("length", [item_count.MAX_VALUES - 1, item_count.MAX_VALUES])
def test_values_are_counted_up_to_their_bound(length: int) -> None:
    """A list is a value too."""
    packed = memoryview(msgpack.packb([0] * length))
    if length < 2**15:
        item_count.check(packed)
    else:
        with pytest.raises(MalformedMessage, match="more than 32768 values"):
            item_count.check(packed)


@pytest.mark.parametrize("depth", [32, 33])
def test_values_are_nested_up_to_their_bound(depth: int) -> None:
    from shared import pysyft
    from tests.helpers.pysyft_messages import Node, wire

    hook = pysyft.make_hook()
    node = Node(hook, "localhost", 0, id="bob", loop=object())
    pysyft.restrict_decoder(node, (list,))
    code = pysyft.serialize([], hook.local_worker)[1:]
    values: Any = 0
    for _ in range(depth):
        values = [msgpack.unpackb(code)[0], [values]]
    if depth <= 32:
        pysyft.deserialize(wire(values), node)
    else:
        with pytest.raises(MalformedMessage, match="nested too deep"):
            pysyft.deserialize(wire(values), node)


@asynccontextmanager
async def dialled_from(address: str, url: str) -> AsyncIterator[Peer]:
    options = transport_options()
    async with connect(url, proxy=None, local_addr=(address, 0), **options) as connection:
        yield Peer(connection)


def test_a_node_has_so_many_sessions_in_all() -> None:
    """Of four addresses, none of which has more than it may; a fifth is sent away."""

    async def scene() -> None:
        async with served_node() as url, AsyncExitStack() as inside:
            for number in range(32):
                peer = await inside.enter_async_context(
                    dialled_from(f"127.0.0.{2 + number % 4}", url)
                )
                assert (await peer.greet()).kind is Kind.HELLO
            async with dialled_from("127.0.0.9", url) as late:
                assert await closing_code(late) == 1013

    run(scene())


def admitted(gate: Gate, address: str, many: int, first_port: int = 0) -> int:
    return sum(gate.admit((address, first_port + port)) for port in range(many))


def test_the_gate_as_it_is_set_counts_what_the_page_says() -> None:
    now = [0.0]
    gate = Gate(clock=lambda: now[0])
    assert admitted(gate, "10.0.0.1", 25) == 24
    assert admitted(gate, "10.0.0.2", 25) == 24
    assert admitted(gate, "10.0.0.3", 25) == 64 - 48  # in all
    gate = Gate(clock=lambda: now[0])
    for port in range(200):
        assert gate.admit(("10.0.0.1", port))
        gate.left(("10.0.0.1", port))
    assert not gate.admit(("10.0.0.1", 200))
    now[0] = 1.0
    inside = admitted(gate, "10.0.0.1", 30, 300)
    assert inside == 20
    gate = Gate(clock=lambda: now[0])
    for number in range(128):
        address = (f"10.0.1.{number}", 1)
        assert gate.admit(address)
        gate.greeted(address)
    assert not gate.admit(("10.0.2.1", 1))


def test_whom_the_gate_turns_away_gets_no_byte_of_tls(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    federation.coordinator()
    own = identity.load(federation.node("bob"), "node")

    async def scene() -> None:
        async with served_node(admission=make_admission(own, ["coordinator"])) as url:
            port = int(url.rpartition(":")[2])
            dialled = [socket.create_connection(("127.0.0.1", port)) for _ in range(25)]
            loop = asyncio.get_running_loop()
            try:
                dialled[24].setblocking(False)
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(loop.sock_recv(dialled[24], 1), PATIENCE_SECONDS)
                served = asyncio.open_connection(
                    sock=dialled[23], ssl=unchecked_client(None), server_hostname="bob"
                )
                _, writer = await asyncio.wait_for(served, PATIENCE_SECONDS)
                writer.transport.abort()
            finally:
                for one in dialled:
                    one.close()

    run(scene())


@pytest.mark.parametrize("head", [b"X: " + b"y" * 10_000, b"X: y\r\n" * 200])
def test_an_http_request_beyond_websockets_sizes_is_not_waited_for(head: bytes) -> None:
    async def scene() -> None:
        async with served_node(timeouts=Timeouts(handshake_timeout=0)) as url:
            port = int(url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n" + head)
            await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)  # to the end, soon
            writer.close()

    run(scene())


def test_requests_have_the_pace_that_the_page_says() -> None:
    one = pace.Pace(clock=lambda: 0.0)
    assert {one.wait("eager") for _ in range(2000)} == {0.0}
    assert one.wait("eager") == pytest.approx(1 / 200)
    assert one.wait("eager") == pytest.approx(2 / 200)


def test_frames_of_pointer_commands_are_not_counted(recipe: Any) -> None:
    """The first request is the only one; another would wait for some hours."""
    slow = pace.Pace(burst=1, rate=1e-4)
    counting = pack_commands(True, [(Item.COUNT, None)])

    async def scene() -> None:
        async with (
            served_node({"modes": ["pointers"]}, pace=slow) as url,
            coordinator(url) as peer,
        ):
            reply(await peer.ask(command(OPEN_POINTERS, seed=1, recipe=recipe.to_json())))
            for _ in range(20):
                asked = await peer.send(Kind.COMMANDS, counting)
                assert (await peer.answer_to(asked)).kind is Kind.REPLY

    run(scene())
