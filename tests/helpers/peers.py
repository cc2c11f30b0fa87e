"""Both ends of a connection as a test wants them: any coordinator, and false nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from shared.wire.frames import Frame, Kind, frame, new_request_id, pack_map, parse_frame, unpack_map
from shared.wire.handshake import Greeting
from shared.wire.transport import transport_options

PATIENCE_SECONDS = 30.0


class Peer:
    """A coordinator's end of a connection to a real node, which checks nothing."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, kind: Kind, payload: bytes) -> bytes:
        """Sends a frame; gives its request id."""
        request_id = new_request_id()
        await self.connection.send(frame(kind, request_id, payload))
        return request_id

    async def receive(self) -> Frame:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return parse_frame(await self.connection.recv())

    async def answer_to(self, request_id: bytes) -> Frame:
        """The frame that ends a request; its events, and others' frames, are passed over."""
        while True:
            received = await self.receive()
            if received.request_id == request_id and received.kind is not Kind.EVENT:
                return received

    async def ask(self, payload: bytes) -> Frame:
        return await self.answer_to(await self.send(Kind.REQUEST, payload))

    async def greet(self, greeting: Greeting | None = None) -> Frame:
        ours = greeting or Greeting(role="coordinator", id="a-test")
        return await self.answer_to(await self.send(Kind.HELLO, pack_map(ours.to_map())))


@asynccontextmanager
async def stranger(url: str) -> AsyncIterator[Peer]:
    """A connection to a node without a handshake."""
    async with connect(url, proxy=None, **transport_options()) as connection:
        yield Peer(connection)


@asynccontextmanager
async def coordinator(url: str) -> AsyncIterator[Peer]:
    """A connection to a node after the handshake."""
    async with stranger(url) as peer:
        answer = await peer.greet()
        assert answer.kind is Kind.HELLO, unpack_map(answer.payload)
        yield peer


FEW_ROWS = {"train": 10, "held_out": 5}
Misdeed = Callable[[ServerConnection, Frame], Awaitable[None]]
"""What a false node does about a frame."""


@asynccontextmanager
async def false_node(
    behave: Misdeed, node_id: str = "mallory", rows: Mapping[str, int] = FEW_ROWS
) -> AsyncIterator[str]:
    """A node that greets well and then answers each request as `behave` does; gives its URL.

    Args:
        rows: what it greets with; nothing checks them here.
    """

    async def handler(connection: ServerConnection) -> None:
        hello = parse_frame(await connection.recv())
        greeting = Greeting(role="node", id=node_id).to_map() | {"rows": dict(rows)}
        await connection.send(frame(Kind.HELLO, hello.request_id, pack_map(greeting)))
        async for data in connection:
            await behave(connection, parse_frame(data))

    async with false_server(handler) as url:
        yield url


@asynccontextmanager
async def false_server(
    handler: Callable[[ServerConnection], Awaitable[None]],
) -> AsyncIterator[str]:
    """A WebSocket server of a test's own; gives its URL."""
    async with serve(handler, "127.0.0.1", 0, **transport_options()) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


def sends(kind: Kind, payload: bytes) -> Misdeed:
    async def misdeed(connection: ServerConnection, request: Frame) -> None:
        await connection.send(frame(kind, request.request_id, payload))

    return misdeed


async def hangs_up(connection: ServerConnection, request: Frame) -> None:
    await connection.close(1011, "out of luck")


async def cuts_the_line(connection: ServerConnection, request: Frame) -> None:
    connection.transport.abort()


async def says_text(connection: ServerConnection, request: Frame) -> None:
    await connection.send("hello")
