"""A line goes to the address that was named, whatever who answers or the environment says."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from shared.wire.direct import Direct, proxy_for


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def test_who_answers_cannot_send_it_elsewhere() -> None:
    async def scene() -> None:
        reached: list[str] = []

        async def handler(connection: ServerConnection) -> None:
            reached.append("elsewhere")

        async with serve(handler, "127.0.0.1", 0) as elsewhere:
            there = f"ws://127.0.0.1:{port_of(elsewhere.server)}"

            def send_on(connection: ServerConnection, request: Request) -> Response:
                response = connection.respond(HTTPStatus.FOUND, "")
                response.headers["Location"] = there
                return response

            async with serve(handler, "127.0.0.1", 0, process_request=send_on) as named:
                with pytest.raises(InvalidStatus):
                    async with Direct(f"ws://127.0.0.1:{port_of(named.server)}", proxy=None):
                        pass
            assert reached == []

    asyncio.run(scene())


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_without_tls_no_proxy_is_asked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        asked: list[bytes] = []

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readline())
            writer.close()

        async def handler(connection: ServerConnection) -> None:
            await connection.send("here")

        listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port_of(listening)}")
        async with listening, serve(handler, "127.0.0.1", 0) as named:
            url = f"ws://127.0.0.1:{port_of(named.server)}"
            async with Direct(url, proxy=proxy_for(url)) as line:
                assert await line.recv() == "here"
        assert asked == []

    asyncio.run(scene())


def test_with_tls_the_machines_proxy_may_be_asked() -> None:
    assert proxy_for("wss://coordinator.example:8770") is True
