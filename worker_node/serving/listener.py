"""The listener: opens the node's port, and closes it in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection

from shared.wire.listening import listening as serving_at
from shared.wire.timeouts import limit
from worker_node.membership.admission import Admission
from worker_node.node import DataOwnerNode
from worker_node.serving.door import Door
from worker_node.serving.when_to_stop import StopRule


@asynccontextmanager
async def listening(
    node: DataOwnerNode,
    host: str,
    port: int,
    admission: Admission | None = None,
    stop_rule: StopRule | None = None,
) -> AsyncIterator[str]:
    """Listens while the context lasts; gives the address that a coordinator dials.

    Args:
        host: address to listen at; "0.0.0.0" or "::" are all of the machine's.
        port: 0 takes a free one.
        admission: who is let in, over TLS; None lets in everybody, without TLS.
        stop_rule: is told who comes and who leaves; None serves as long as the context lasts.

    Raises:
        UsageError: the address is not this machine's, or the port is taken.
    """
    async with listening_at(Door(node, admission, stop_rule), host, port) as url:
        yield url


@asynccontextmanager
async def listening_at(door: Door, host: str, port: int) -> AsyncIterator[str]:
    """The same with a door that connections of other ways go through too."""

    async def handle(connection: ServerConnection) -> None:
        await door.handle(connection)

    opened = serving_at(
        f"node {door.node.id}",
        (host, port),
        handle,
        door.gate,
        door.admission.context if door.admission else None,
        limit(door.node.timeouts.handshake_timeout),
    )
    async with opened as url:
        yield url
