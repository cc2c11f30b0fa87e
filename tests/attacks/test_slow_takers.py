"""A peer that takes nothing of an answer is hung up on, and a line that is slow is not: with TLS,
where what waits lies a layer deeper, and without. Likewise a message that comes slowly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from websockets.asyncio.client import connect

from shared.identity import folder as identity
from shared.pysyft import ObjectMessage, ObjectRequestMessage
from shared.wire import bounded_connection
from shared.wire.frames import Kind, frame, new_request_id
from shared.wire.handshake import Greeting
from shared.wire.transport import transport_options
from tests.helpers.identities import Federation, make_federation, unchecked_client
from tests.helpers.node_requests import pack, run, tensor
from tests.helpers.peers import PATIENCE_SECONDS, Peer, coordinator
from tests.helpers.served_nodes import served_node
from worker_node.membership.admission import make_admission

NUMBERS = 2_500_000
PIECE = 64 * 1024


class Line:
    """A line between a coordinator and a node, which passes a node's answers on as it is told.

    pause: seconds after each 64 KiB. passes: clear, it passes nothing on. passed: bytes.
    """

    def __init__(self) -> None:
        self.pause = 0.0
        self.passes = asyncio.Event()
        self.passes.set()
        self.passed = 0

    async def carry(self, near: asyncio.StreamReader, far: asyncio.StreamWriter, port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as node, contextlib.suppress(OSError):
            node.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)  # the line holds no more
            node.setblocking(False)
            await loop.sock_connect(node, ("127.0.0.1", port))
            up = asyncio.create_task(self._up(near, node))
            try:
                await self._down(node, far)
            finally:
                up.cancel()
                far.close()

    async def _up(self, near: asyncio.StreamReader, node: socket.socket) -> None:
        while data := await near.read(PIECE):
            await asyncio.get_running_loop().sock_sendall(node, data)

    async def _down(self, node: socket.socket, far: asyncio.StreamWriter) -> None:
        while True:
            await self.passes.wait()
            data = await asyncio.get_running_loop().sock_recv(node, PIECE)
            if not data:
                return
            self.passed += len(data)
            far.write(data)
            await far.drain()
            await asyncio.sleep(self.pause)


@asynccontextmanager
async def over_a_line(federation: Federation | None) -> AsyncIterator[tuple[Line, Peer]]:
    """A coordinator that has greeted a node. Args: federation: None is without TLS."""
    admission = context = None
    if federation is not None:
        context = unchecked_client(federation.coordinator())
        own = identity.load(federation.node("bob"), "node")
        admission = make_admission(own, ["coordinator"])
    line = Line()
    async with served_node(admission=admission) as url:
        node = int(url.rpartition(":")[2])
        server = await asyncio.start_server(
            lambda near, far: line.carry(near, far, node), "127.0.0.1", 0
        )
        near = f"{url.partition(':')[0]}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with connect(near, proxy=None, ssl=context, **transport_options()) as connection:
                peer = Peer(connection)
                greeting = Greeting(role="coordinator", id="coordinator")
                assert (await peer.greet(greeting)).kind is Kind.HELLO
                yield line, peer
                connection.transport.abort()
        finally:
            server.close()


async def ask_for_much(peer: Peer) -> None:
    large: Any = torch.zeros(NUMBERS)
    large.id = 1
    assert (await peer.ask(pack(ObjectMessage(large)))).kind is Kind.REPLY
    await peer.send(Kind.REQUEST, pack(ObjectRequestMessage(1, None, "")))


@pytest.fixture
def federation(tmp_path: Path, with_tls: bool) -> Federation | None:
    return make_federation(tmp_path) if with_tls else None


class Ends:
    """Why a node ended connections, as it says it."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.happened = asyncio.Event()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Of nodes whose bounds a test can wait for."""
    found = Ends()
    end = bounded_connection.BoundedConnection._end

    def noted(self: bounded_connection.BoundedConnection, why: str) -> None:
        found.reasons.append(why)
        found.happened.set()
        end(self, why)

    monkeypatch.setattr(bounded_connection.BoundedConnection, "_end", noted)
    monkeypatch.setattr(bounded_connection, "STALLED_SECONDS", 1.0)
    monkeypatch.setattr(bounded_connection, "CHECK_SECONDS", 0.2)
    return found


@pytest.mark.parametrize("with_tls", [False, True])
def test_an_answer_of_which_nothing_is_taken_ends_the_connection(
    federation: Federation | None, ended: Ends
) -> None:
    async def scene() -> None:
        async with over_a_line(federation) as (line, peer):
            await ask_for_much(peer)
            line.passes.clear()
            await asyncio.wait_for(ended.happened.wait(), PATIENCE_SECONDS)
        assert ended.reasons[0] == "nothing of what is sent is taken"

    run(scene())


@pytest.mark.parametrize("with_tls", [False, True])
def test_an_answer_that_is_taken_slowly_arrives(federation: Federation | None, ended: Ends) -> None:
    """It takes some times as long as a peer may take nothing, and answers to pings wait behind."""

    async def pinging(peer: Peer) -> None:
        while True:
            await peer.connection.ping()
            await asyncio.sleep(0.1)

    async def scene() -> None:
        async with over_a_line(federation) as (line, peer):
            line.pause = 0.02
            before = line.passed
            await ask_for_much(peer)
            pings = asyncio.create_task(pinging(peer))
            answer = await peer.receive()
            pings.cancel()
            assert len(answer.payload) > 4 * NUMBERS
            assert line.passed - before > 4 * NUMBERS
        assert ended.reasons == []

    run(scene())


def test_a_message_that_comes_slowly_and_fast_enough_is_read(
    monkeypatch: pytest.MonkeyPatch, ended: Ends
) -> None:
    """Each byte of it gives it more time than passes until the next."""
    monkeypatch.setattr(bounded_connection, "MESSAGE_SECONDS", 0.3)
    monkeypatch.setattr(bounded_connection, "SLOWEST_BYTES", 0.1)
    request = frame(Kind.REQUEST, new_request_id(), pack(ObjectMessage(tensor([1.0]))))
    piece = len(request) // 40 + 1

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(request), piece):
            yield request[start : start + piece]
            await asyncio.sleep(0.05)

    async def scene() -> None:
        async with served_node() as url, coordinator(url) as peer:
            await peer.connection.send(slowly())
            assert (await peer.receive()).kind is Kind.REPLY
        assert ended.reasons == []

    run(scene())
