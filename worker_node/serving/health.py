"""Whether a node is well, told over a Unix socket of its own machine: one JSON line a connection.

The port that coordinators dial is left alone, so that asking needs no certificate, is no session
and disturbs none. The answer comes from the node's event loop: a loop that hangs does not answer.

    {"node": "bob", "well": true, "trainer": "running", "busy": "training round 3 of 15 for alice"}

Of a node that dials out, `dials` has how each of its lines is. A coordinator that is not there is
no fault of the node's: it is well, and knocks.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from shared.errors import UsageError, describe_os_error
from worker_node.node import DataOwnerNode
from worker_node.serving.dialling import Line


@asynccontextmanager
async def telling_health(
    node: DataOwnerNode, path: Path | None, lines: Sequence[Line] = ()
) -> AsyncIterator[None]:
    """Answers at the socket while the context lasts; None tells nobody.

    Args:
        lines: those that the node dials.

    Raises:
        UsageError: there can be no socket at that path.
    """
    if path is None:
        yield
        return

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(json.dumps(health_of(node, lines)).encode() + b"\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, sock=_listener(path))
    try:
        async with server:
            yield
    finally:
        _remove(path)


def _listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove(path)  # of a node that was killed
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot tell health at {path}",
            describe_os_error(error),
            "Name a path in a folder that can be written, of fewer than 100 characters.",
        ) from error
    return listener


def _remove(path: Path) -> None:
    if path.is_socket():
        path.unlink()


def health_of(node: DataOwnerNode, lines: Sequence[Line] = ()) -> dict[str, object]:
    """well: False where the next training would have to start a new trainer because one died."""
    trainer = node.trainer.condition
    dialled = {"dials": {line.url: line.state for line in lines}} if lines else {}
    return {
        "node": str(node.id),
        "well": trainer != "died",
        "trainer": trainer,
        "busy": node.busy_with,
        **dialled,
    }
