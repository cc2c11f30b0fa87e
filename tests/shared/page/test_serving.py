"""Who is served a page, its events and its buttons: each refusal by the one thing that is wrong."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.page import serving
from shared.page.serving import MAX_HEAD, MAX_PAGES, WAITING_EVENTS, PageServer

pytestmark = pytest.mark.timeout(60)
PAGE = "<p>ä</p>".encode()


class Scene:
    """A server, what its buttons were given, and what was asked of it."""

    def __init__(self) -> None:
        self.pressed: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.may_begin = asyncio.Event()
        self.may_begin.set()
        self.server = PageServer(
            lambda: PAGE,
            self._beginning,
            {"pause": self._button("pause"), "answer": self._button("answer")},
            self.told.append,
        )

    async def _beginning(self) -> tuple[str, dict[str, Any]]:
        await self.may_begin.wait()
        return "all", {"rows": 3}

    def _button(self, name: str) -> Callable[[str], Awaitable[bool]]:
        async def press(which: str) -> bool:
            self.pressed.append((name, which))
            return which != "gone"

        return press

    @property
    def here(self) -> str:
        return self.server.address.split("/")[2]

    @property
    def path(self) -> str:
        return "/" + self.server.address.split("/", 3)[3]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.here.split(":")
        return await asyncio.open_connection(host, int(port))

    async def raw(self, request: bytes) -> bytes:
        """All that comes back."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    async def status(self, first: str, *headers: str) -> str:
        lines = "".join(f"{one}\r\n" for one in (first, *headers, ""))
        answer = await self.raw(lines.encode())
        return answer.split(b"\r\n")[0].decode().removeprefix("HTTP/1.1 ")

    async def events(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An open stream, past its head."""
        reader, writer = await self.connect()
        writer.write(f"GET {self.path}events HTTP/1.1\r\nHost: {self.here}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"Content-Type: text/event-stream\r\n" in head
        assert b"Content-Length" not in head
        return reader, writer


def run(act: Callable[[Scene], Awaitable[None]]) -> None:
    async def begun() -> None:
        scene = Scene()
        async with scene.server:
            await act(scene)

    asyncio.run(begun())


@asynccontextmanager
async def stream(scene: Scene) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await scene.events()
    try:
        yield reader
    finally:
        writer.close()


async def event(reader: asyncio.StreamReader) -> tuple[str, Any]:
    name, data, *rest = (await reader.readuntil(b"\n\n")).decode().split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_its_address_is_this_machines_alone_and_has_a_token_of_its_own() -> None:
    async def act(scene: Scene) -> None:
        assert scene.told == [scene.server.address]
        assert scene.here.startswith("127.0.0.1:")
        assert len(scene.path.strip("/")) >= 32  # of 64 letters: 192 bits
        assert scene.path != Scene().path

    run(act)


def test_the_page_comes_with_headers_that_keep_it_where_it_is() -> None:
    async def act(scene: Scene) -> None:
        request = f"GET {scene.path} HTTP/1.1\r\nHost: {scene.here}\r\n\r\n"
        head, body = (await scene.raw(request.encode())).split(b"\r\n\r\n", 1)
        first, *headers = head.decode().split("\r\n")
        assert first == "HTTP/1.1 200 OK"
        assert body == PAGE
        assert {
            "Content-Type: text/html; charset=utf-8",
            f"Content-Length: {len(PAGE)}",
            "Cache-Control: no-store",
            "Connection: close",
            "Content-Security-Policy: frame-ancestors 'none'",
            "Cross-Origin-Opener-Policy: same-origin",
            "Cross-Origin-Resource-Policy: same-origin",
            "Referrer-Policy: no-referrer",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
        } <= set(headers)

    run(act)


GET, EVENTS, POST = "GET {path} HTTP/1.1", "GET {path}events HTTP/1.1", "POST {path}pause HTTP/1.1"
HOST, OWN = "Host: {here}", "Origin: http://{here}"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((GET, HOST), "200 OK"),
        ((GET, "HOST:{here} "), "200 OK"),  # in capitals and with blanks it is the same header
        (("GET {path} HTTP/1.0", HOST), "200 OK"),
        ((GET, HOST, OWN), "200 OK"),
        ((GET, "Host: localhost:{port}", "Origin: http://localhost:{port}"), "200 OK"),
        ((GET, HOST, "Accept: a", "Accept: b"), "200 OK"),
        ((POST, HOST, OWN), "204 No Content"),
        (("POST {path}answer/gone HTTP/1.1", HOST, OWN), "409 Conflict"),
        # the head
        (("GET {path} HTTP/2.0", HOST), "400 Bad Request"),
        (("GET {path}", HOST), "400 Bad Request"),
        (("GET {path} HTTP/1.1 more", HOST), "400 Bad Request"),
        ((GET, HOST, "without a colon"), "400 Bad Request"),
        ((GET, HOST, "Name: ä"), "400 Bad Request"),
        ((GET, HOST, HOST), "400 Bad Request"),
        ((POST, HOST, OWN, "oRIGIN: http://{here}"), "400 Bad Request"),
        # another host's name leads here
        ((GET,), "403 Forbidden"),
        ((GET, "Host: rebound.example"), "403 Forbidden"),
        ((GET, "Host: 127.0.0.1"), "403 Forbidden"),
        ((EVENTS, "Host: rebound.example:{port}"), "403 Forbidden"),
        ((POST, "Host: rebound.example:{port}", OWN), "403 Forbidden"),
        # without the token
        (("GET / HTTP/1.1", HOST), "404 Not Found"),
        (("GET /x{path} HTTP/1.1", HOST), "404 Not Found"),
        (("GET {cut}/ HTTP/1.1", HOST), "404 Not Found"),
        (("POST /pause HTTP/1.1", HOST, OWN), "404 Not Found"),
        # another page asks
        ((GET, HOST, "Origin: https://evil.example"), "403 Forbidden"),
        ((EVENTS, HOST, "Origin: https://{here}"), "403 Forbidden"),
        ((EVENTS, HOST, "Origin: null"), "403 Forbidden"),
        ((POST, HOST, "Origin: http://evil.example"), "403 Forbidden"),
        ((POST, HOST), "403 Forbidden"),
        # what there is not
        (("GET {path}pause HTTP/1.1", HOST, OWN), "404 Not Found"),
        (("GET {path}page HTTP/1.1", HOST, OWN), "404 Not Found"),
        (("POST {path} HTTP/1.1", HOST, OWN), "404 Not Found"),
        (("POST {path}events HTTP/1.1", HOST, OWN), "404 Not Found"),
        (("POST {path}other HTTP/1.1", HOST, OWN), "404 Not Found"),
        (("PUT {path}pause HTTP/1.1", HOST, OWN), "404 Not Found"),
        (("HEAD {path} HTTP/1.1", HOST), "404 Not Found"),
    ],
)
def test_who_asks_in_this_way_is_answered_so(lines: tuple[str, ...], status: str) -> None:
    async def act(scene: Scene) -> None:
        values = {"path": scene.path, "here": scene.here, "port": scene.here.split(":")[1]}
        values["cut"] = scene.path[:-2]
        assert await scene.status(*(one.format(**values) for one in lines)) == status
        is_pressed = status.startswith(("204", "409"))
        assert bool(scene.pressed) is is_pressed

    run(act)


def test_a_button_is_told_which_of_many_is_pressed() -> None:
    async def act(scene: Scene) -> None:
        own = (f"Host: {scene.here}", f"Origin: http://{scene.here}")
        for which in ("", "/7/yes", "/a/b/c"):
            assert await scene.status(f"POST {scene.path}answer{which} HTTP/1.1", *own) == (
                "204 No Content"
            )
        assert scene.pressed == [("answer", ""), ("answer", "7/yes"), ("answer", "a/b/c")]

    run(act)


def test_each_page_gets_all_that_there_is_and_then_what_comes_and_the_end() -> None:
    async def begun() -> None:
        scene = Scene()
        async with scene.server:
            assert not scene.server.is_open
            scene.server.send("now", {"before": 1})  # nobody sees it
            first, writer = await scene.events()
            assert await event(first) == ("all", {"rows": 3})
            assert scene.server.is_open
            scene.server.send("now", {"rows": 4})
            second, other = await scene.events()
            assert await event(second) == ("all", {"rows": 3})
            scene.server.send("now", {"rows": 5})
            with pytest.raises(ValueError, match="Out of range"):
                scene.server.send("now", {"rows": math.nan})
        for reader, seen in ((first, [4, 5]), (second, [5])):
            for rows in seen:
                assert await event(reader) == ("now", {"rows": rows})
            assert await event(reader) == ("end", {})
            assert await reader.read() == b""
        writer.close()
        other.close()
        with pytest.raises(OSError, match="Connect call failed"):
            await scene.connect()

    asyncio.run(begun())


def test_a_page_that_has_gone_is_not_open() -> None:
    async def act(scene: Scene) -> None:
        async with stream(scene) as reader:
            await event(reader)
        while scene.server.is_open:  # until the server notices, by what it sends
            scene.server.send("now", {})
            await asyncio.sleep(0)

    run(act)


@pytest.mark.parametrize("too_many", [0, 1])
def test_a_page_too_far_behind_is_hung_up_on_and_comes_back(too_many: int) -> None:
    async def act(scene: Scene) -> None:
        scene.may_begin.clear()
        async with stream(scene) as reader:
            for number in range(WAITING_EVENTS + too_many):
                scene.server.send("now", {"number": number})
            scene.may_begin.set()
            assert (await event(reader))[0] == "all"
            if too_many:
                assert await reader.read() == b""
                return
            for number in range(WAITING_EVENTS):
                assert await event(reader) == ("now", {"number": number})

    assert WAITING_EVENTS == 256
    run(act)


def test_a_quiet_page_is_sent_something_that_is_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "KEEP_ALIVE", 0.01)

    async def act(scene: Scene) -> None:
        async with stream(scene) as reader:
            await event(reader)
            assert await reader.readexactly(6) == b":\n\n:\n\n"
            scene.server.send("now", {})
            told = await reader.readuntil(b"event: now\n")
            assert told.replace(b":\n\n", b"") == b"event: now\n"

    run(act)


def test_who_says_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.01)

    async def act(scene: Scene) -> None:
        assert await scene.raw(b"GET ") == b""

    run(act)


def test_how_long_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds for a head, and for whatever it sends to be taken; 15 for something to send."""
    asked: list[float] = []
    timeout = asyncio.timeout

    def noted(seconds: float) -> asyncio.Timeout:
        asked.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr("shared.page.serving.asyncio.timeout", noted)

    async def act(scene: Scene) -> None:
        assert await scene.status(f"GET {scene.path} HTTP/1.1", f"Host: {scene.here}") == "200 OK"
        assert asked == [10.0, 10.0]
        async with stream(scene) as reader:
            await event(reader)
            scene.server.send("now", {})
            await event(reader)
        assert asked[2:6] == [10.0, 10.0, 15.0, 10.0]

    run(act)


@pytest.mark.parametrize(("size", "answer"), [(MAX_HEAD, b"HTTP/1.1 200"), (MAX_HEAD + 1, b"")])
def test_a_head_has_a_bound(size: int, answer: bytes) -> None:
    async def act(scene: Scene) -> None:
        head = f"GET {scene.path} HTTP/1.1\r\nHost: {scene.here}\r\nName: "
        filled = head + "a" * (size - len(head))
        assert (await scene.raw(f"{filled}\r\n\r\n".encode()))[:12] == answer

    assert MAX_HEAD == 16_384
    run(act)


def test_so_many_at_a_time_and_whoever_comes_then_is_hung_up_on() -> None:
    async def act(scene: Scene) -> None:
        open_ones = [await scene.connect() for _ in range(MAX_PAGES)]
        ask = f"GET {scene.path} HTTP/1.1\r\nHost: {scene.here}\r\n\r\n".encode()
        assert await scene.raw(ask) == b""
        reader, writer = open_ones.pop()
        writer.write(ask)
        assert (await reader.read()).endswith(PAGE)
        writer.close()
        assert (await scene.raw(ask)).endswith(PAGE)  # there is room again
        for _, one in open_ones:
            one.close()

    assert MAX_PAGES == 64
    run(act)


def test_an_open_page_ends_by_itself_and_is_not_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[object] = []
    wait = asyncio.wait

    async def waited(*arguments: Any, **options: Any) -> Any:
        done, pending = await wait(*arguments, **options)
        late.extend(pending)
        return done, pending

    async def act(scene: Scene) -> None:
        reader, writer = await scene.events()
        await event(reader)
        opened.append(writer)
        monkeypatch.setattr("shared.page.serving.asyncio.wait", waited)

    async def begun() -> None:
        scene = Scene()
        async with scene.server:
            await act(scene)
        opened[0].close()

    opened: list[asyncio.StreamWriter] = []
    asyncio.run(begun())
    assert late == []


def test_the_end_does_not_wait_for_who_hangs() -> None:
    async def begun() -> None:
        scene = Scene()
        async with scene.server as entered:
            assert entered is scene.server
            reader, writer = await scene.connect()
            await scene.status(f"GET {scene.path} HTTP/1.1", f"Host: {scene.here}")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await reader.read() == b""
        writer.close()

    asyncio.run(begun())
