"""An HTTP proxy of a hospital: connects whoever asks it to (CONNECT, RFC 9110, 9.3.6), no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class HttpProxy:
    """url: as HTTPS_PROXY has it. asked: what it was asked to connect to. seen: all that passed.

    forbids: it answers 403 to everybody.
    """

    url: str = ""
    forbids: bool = False
    asked: list[str] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)


@asynccontextmanager
async def http_proxy() -> AsyncIterator[HttpProxy]:
    """Runs while the context lasts."""
    proxy = HttpProxy()
    open_ones: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, place, _ = head.split("\r\n")[0].split()
            proxy.asked.append(place)
            if method != "CONNECT" or proxy.forbids:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            else:
                await _connect(proxy, place, reader, writer)
        writer.close()
        open_ones.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield proxy
    finally:
        server.close()
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)


async def _connect(
    proxy: HttpProxy, place: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    host, _, port = place.rpartition(":")
    there = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    try:
        await asyncio.gather(_pass_on(proxy, reader, there[1]), _pass_on(proxy, there[0], writer))
    finally:
        there[1].close()


async def _pass_on(
    proxy: HttpProxy, source: asyncio.StreamReader, target: asyncio.StreamWriter
) -> None:
    while data := await source.read(2**16):
        proxy.seen += data
        target.write(data)
        await target.drain()
    target.close()
