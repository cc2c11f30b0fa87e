"""A page as it happens, for browsers on this machine alone.

It listens on the loopback interface, and its address holds a token that no other page can guess.
What asks under another host's name gets nothing, so that no name that resolves to 127.0.0.1 leads
here (DNS rebinding), and only the page itself may press its buttons. Events are server-sent: each
page that is opened, late or again, first gets all that there is, and then what comes.

    GET /TOKEN/                the page
    GET /TOKEN/events          its events
    POST /TOKEN/BUTTON         presses a button
    POST /TOKEN/BUTTON/WHICH   presses one of many

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

MAX_PAGES = 64
"""Connections at a time; a browser has six to one place."""
MAX_HEAD = 16_384
"""Bytes of a request's head."""
PATIENCE = 10.0
"""Seconds for a request's head to come, and for an event to be taken."""
KEEP_ALIVE = 15.0
"""Seconds after which a quiet page is sent something, to see whether it is there."""
WAITING_EVENTS = 256
"""Events that a slow page may be behind; then it is hung up on, comes back, and gets all anew."""

Event = tuple[str, Mapping[str, Any]]
"""Its name, and what it tells."""
Button = Callable[[str], Awaitable[bool]]
"""Given which of many is pressed, "" of one; False where there is no such one (any more)."""

log = logging.getLogger("fedsms.page")


@dataclass(frozen=True)
class _Asked:
    method: str
    path: str
    headers: Mapping[str, str]


class PageServer:
    """Serves one page while the context lasts. All in one event loop, `send` too.

    Args:
        page: gives the HTML.
        beginning: gives the event that a page that is opened gets first.
        buttons: by the name that the page posts to.
        told: given the page's address.
    """

    def __init__(
        self,
        page: Callable[[], bytes],
        beginning: Callable[[], Awaitable[Event]],
        buttons: Mapping[str, Button],
        told: Callable[[str], object],
    ) -> None:
        self._page = page
        self._beginning = beginning
        self._buttons = buttons
        self._told = told
        self._token = secrets.token_urlsafe(24)
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}/{self._token}/"

    @property
    def is_open(self) -> bool:
        """Whether somebody has the page open, who would see an event."""
        return bool(self._queues)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=MAX_HEAD, backlog=MAX_PAGES
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self._told(self.address)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.send("end", {})
        for queue in self._queues:
            _put(queue, None)
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def send(self, name: str, values: Mapping[str, Any]) -> None:
        """An event for all pages that are open. Raises ValueError for NaN."""
        if self._queues:
            event = _event(name, values)
            for queue in self._queues:
                _put(queue, event)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) < MAX_PAGES:
                self._connections.add(task)
                await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            log.debug("a browser is gone, or too slow")
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE):
            asked = _parse(await reader.readuntil(b"\r\n\r\n"))
        match self._route(asked):
            case "page", _:
                await _answer(writer, HTTPStatus.OK, self._page(), "text/html; charset=utf-8")
            case "events", _:
                await self._stream(writer)
            case name, which:
                pressed = await self._buttons[name](which)
                await _answer(writer, HTTPStatus.NO_CONTENT if pressed else HTTPStatus.CONFLICT)
            case HTTPStatus() as refused:
                await _answer(writer, refused)

    def _route(self, asked: _Asked | None) -> tuple[str, str] | HTTPStatus:
        """What is asked for, and which one of it."""
        if asked is None:
            return HTTPStatus.BAD_REQUEST
        here = {f"127.0.0.1:{self._port}", f"localhost:{self._port}"}
        if asked.headers.get("host") not in here:
            return HTTPStatus.FORBIDDEN
        token, _, name = asked.path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return HTTPStatus.NOT_FOUND
        origin = asked.headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in here:
            return HTTPStatus.FORBIDDEN
        match asked.method, name:
            case "GET", "":
                return "page", ""
            case "GET", "events":
                return "events", ""
            case "POST", _:
                button, _, which = name.partition("/")
                if button in self._buttons:
                    return (button, which) if origin is not None else HTTPStatus.FORBIDDEN
        return HTTPStatus.NOT_FOUND

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """Events until the serving ends, or the page is gone."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_EVENTS)
        self._queues.add(queue)  # before the snapshot: what comes meanwhile is in one of both
        try:
            writer.write(_head(HTTPStatus.OK, "text/event-stream"))
            await self._take(writer, _event(*await self._beginning()))
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        event = await queue.get()
                except TimeoutError:
                    event = b":\n\n"
                if event is None:
                    return
                await self._take(writer, event)
        finally:
            self._queues.discard(queue)

    async def _take(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await writer.drain()


def _put(queue: asyncio.Queue[bytes | None], event: bytes | None) -> None:
    """An event for a page; one that is too far behind is hung up on instead."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        event = None
    queue.put_nowait(event)


def _event(name: str, values: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(values, allow_nan=False)}\n\n".encode()


def _parse(head: bytes) -> _Asked | None:
    """A request's head; None where it is malformed, or names a header twice that counts."""
    try:
        first, *lines = head.decode("ascii").split("\r\n")[:-2]
        method, path, version = first.split(" ")
    except ValueError:  # also of bytes that are no ASCII
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or (name.lower() in headers and name.lower() in ("host", "origin")):
            return None
        headers[name.lower()] = value.strip()
    return _Asked(method, path, headers) if version in ("HTTP/1.1", "HTTP/1.0") else None


async def _answer(
    writer: asyncio.StreamWriter, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain"
) -> None:
    writer.write(_head(status, kind, len(body)) + body)
    async with asyncio.timeout(PATIENCE):
        await writer.drain()


def _head(status: HTTPStatus, kind: str, length: int | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        "Cache-Control: no-store",
        "Connection: close",
        "Content-Security-Policy: frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy: same-origin",
        "Cross-Origin-Resource-Policy: same-origin",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
    ]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()
