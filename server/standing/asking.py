"""How `train --up` reaches the coordinator that stays, and follows the run that it asked for.

Over the loopback interface, with a token from a file that only this user can read. The words are
lines of JSON: one with what is asked, and then those of the run: a line for people, the rows of a
round, and in the end the run folder, or the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from shared.errors import FedsmsError, NodeUnreachable, StorageError
from shared.files import is_present, read_bytes, write_whole

PLACE = "up.json"
"""In the identity folder: where it is asked, and the token."""
MAX_ASKED = 2**20
MAX_TOLD = 2**26
"""Bytes of a line each way; a round's rows of many nodes are long."""
PATIENCE = 10.0
"""Seconds for what is asked to come, and for a line to be taken."""
AT_A_TIME = 16

_NOT_ASKED = (
    *(OSError, EOFError, TimeoutError, asyncio.LimitOverrunError),
    *(ValueError, RecursionError),
)
"""What reading a line of JSON raises where there is none."""

Tell = Callable[[dict[str, Any]], Awaitable[None]]
Answer = Callable[[dict[str, Any], Tell], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(folder: Path, answer: Answer) -> AsyncIterator[None]:
    """Takes what is asked while the context lasts.

    Args:
        folder: the coordinator's identity folder.
        answer: given what was asked, and what tells a line; cancelled where who asked has gone.
    """
    token, asked_now = secrets.token_urlsafe(32), set[asyncio.Task[None]]()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(asked_now) < AT_A_TIME:
            asked_now.add(task)
            with contextlib.suppress(*_NOT_ASKED, asyncio.CancelledError):
                await _one(reader, writer, token, answer)
            asked_now.discard(task)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=MAX_ASKED)
    place = {"port": server.sockets[0].getsockname()[1], "token": token}
    path = folder / PLACE
    write_whole(path, json.dumps(place).encode(), 0o600)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        server.close()
        for task in asked_now:
            task.cancel()
        await asyncio.gather(*asked_now, return_exceptions=True)


async def _one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, answer: Answer
) -> None:
    async with asyncio.timeout(PATIENCE):
        asked = json.loads(await reader.readuntil(b"\n"))
    if not isinstance(asked, dict):
        return
    shown = str(asked.pop("token", "")).encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(shown, token.encode()):
        return

    async def tell(line: dict[str, Any]) -> None:
        writer.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            await writer.drain()

    await answer(asked, tell)


def is_asked(folder: Path) -> bool:
    """Whether a coordinator that stays has said where it is asked."""
    return is_present(folder / PLACE)


async def ask(folder: Path, what: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Asks, and gives the lines that it is told.

    Raises:
        NodeUnreachable: no coordinator stays with this identity, or it has gone meanwhile.
    """
    try:
        place = json.loads(read_bytes(folder / PLACE))
        port, token = int(place["port"]), str(place["token"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MAX_TOLD)
    except (StorageError, ValueError, KeyError, TypeError, OSError) as error:
        raise NodeUnreachable(
            f"no coordinator stays here with the identity in {folder}",
            next_step="Start it with: python -m server up; or leave --up away.",
        ) from error
    try:
        writer.write(json.dumps({**what, "token": token}).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            yield json.loads(line)
    except OSError:
        return
    finally:
        writer.close()


def error_to_json(error: FedsmsError) -> dict[str, str]:
    """An error, to be raised again at the other end."""
    kind = type(error).__name__
    return {"kind": kind, "fact": error.fact, "cause": error.cause, "next_step": error.next_step}


def error_from_json(told: dict[str, str]) -> FedsmsError:
    kinds = {kind.__name__: kind for kind in _kinds(FedsmsError)}
    kind = kinds.get(told["kind"], FedsmsError)
    return kind(told["fact"], told["cause"], told["next_step"])


def _kinds(kind: type[FedsmsError]) -> list[type[FedsmsError]]:
    return [kind, *(one for below in kind.__subclasses__() for one in _kinds(below))]
