"""A connection over TLS keeps no buffer of the size of what it once sent."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve

from shared.identity import folder as identities
from shared.identity.tls import client_context, server_context
from shared.wire.heartbeat import HeardClient, HeardServer
from shared.wire.lean_connection import SLICE, SlicedWrites
from shared.wire.transport import transport_options
from tests.helpers.identities import make_federation
from tests.helpers.running import done_well, run_python

CONNECTIONS = 20
MESSAGE_BYTES = 4_000_000
OF_ONE_PROCESS = """
import asyncio, sys
from pathlib import Path
from tests.shared.wire.test_lean_connection import kept_bytes
print(asyncio.run(kept_bytes(Path(sys.argv[1]), Path(sys.argv[2]))))
"""


class Recorder:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.limit = 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def set_write_buffer_limits(self, high: int) -> None:
        self.limit = high


@given(st.integers(0, 5 * SLICE) | st.sampled_from([SLICE - 1, SLICE, SLICE + 1, 3 * SLICE]))
def test_the_slices_are_what_was_written(size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    transport, below = Recorder(), Recorder()
    SlicedWrites(transport, cast(Any, below)).write(data)
    assert b"".join(transport.written) == data
    assert all(len(one) <= SLICE for one in transport.written)
    assert below.limit > 0


@asynccontextmanager
async def dialling(
    node: Path, coordinator: Path
) -> AsyncIterator[Callable[[], Awaitable[ClientConnection]]]:
    """Dials a server in this process that gives each message back, over mutual TLS."""
    listens = server_context(identities.load(node, "node"), lambda error: None)
    dials = client_context(identities.load(coordinator, "coordinator"))

    async def gives_back(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)
            del message  # or each connection would keep its own

    options: Any = transport_options()
    async with serve(
        gives_back, "127.0.0.1", 0, ssl=listens, create_connection=HeardServer, **options
    ) as server:
        port = server.sockets[0].getsockname()[1]
        options |= {"create_connection": HeardClient, "server_hostname": "node", "proxy": None}
        yield lambda: connect(f"wss://127.0.0.1:{port}", ssl=dials, **options)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def kept_bytes(node: Path, coordinator: Path) -> float:
    """What both ends of a connection keep of a message that each of them sent."""
    message = bytes(MESSAGE_BYTES)
    async with dialling(node, coordinator) as dial:
        found = [await dial() for _ in range(CONNECTIONS)]
        for one in found:
            await one.send(b"-")
            await one.recv()
        before = resident_bytes()
        for one in found:
            await one.send(message)
            assert await one.recv() == message
        kept = (resident_bytes() - before) / CONNECTIONS
        for one in found:
            await one.close()
    return kept


@pytest.mark.skipif(sys.platform != "linux", reason="reads a process's memory from /proc")
def test_a_connection_over_tls_keeps_little_of_what_it_sent(tmp_path: Path) -> None:
    """In a process of its own: what else this one has freed would hide it."""
    members = make_federation(tmp_path)
    told = run_python("-c", OF_ONE_PROCESS, members.node("bob"), members.coordinator())
    assert float(done_well(told)) < MESSAGE_BYTES / 3


def test_messages_of_any_size_come_whole(tmp_path: Path) -> None:
    members = make_federation(tmp_path)
    sizes = [0, 1, SLICE - 20, SLICE, SLICE + 1, 5 * SLICE - 3, MESSAGE_BYTES]

    async def session() -> None:
        async with dialling(members.node("bob"), members.coordinator()) as dial:
            connection = await dial()
            for size in sizes:
                message = (bytes(range(251)) * (size // 251 + 1))[:size]
                await connection.send(message)
                assert await connection.recv() == message
            await connection.close()

    asyncio.run(session())
