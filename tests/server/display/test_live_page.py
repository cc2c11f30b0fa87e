"""The live page over real sockets and in a real browser: it follows a run, and others cannot."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import NO_SETTINGS
from server.display.page.serving import LivePage
from server.rounds.records import Round
from server.runs.report import round_data, run_data
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.page.serving import MAX_PAGES
from shared.wire.commands import Progress
from tests.helpers.browser import Watched, browser, keep_screenshot
from tests.helpers.run_folders import OWNERS, made_round, made_run
from tests.helpers.running import finish, start, until

pytestmark = pytest.mark.timeout(120)
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


class Served:
    """A live page that a thread serves; `do` calls something where it is served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopped = 0
        self.addresses: list[str] = []
        self.page = LivePage(
            lambda: run_data(folder),
            lambda record: round_data(record, OWNERS),
            self._stop,
            self.addresses.append,
        )
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def _stop(self) -> None:
        self.stopped += 1

    @property
    def port(self) -> int:
        return int(self.addresses[0].split(":")[2].split("/")[0])

    def do(self, act: Callable[[], object]) -> None:
        async def acted() -> None:
            act()

        asyncio.run_coroutine_threadsafe(acted(), self._loop).result(30)

    def end(self) -> None:
        self.do(self._over.set)

    async def _serve(self) -> None:
        async with self.page:
            await self._over.wait()

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    found = Served(folder)
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        until(lambda: bool(found.addresses), "the page's address")
        yield found
    finally:
        if thread.is_alive():
            found.end()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def launched() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, recipe: Recipe) -> Path:
    """A run of 15 rounds of which five are done."""
    run = made_run(tmp_path, recipe, 5, status="interrupted")
    settings = json.loads((run / "settings.json").read_text())
    settings["recipe"]["federation"]["rounds"] = 15
    (run / "settings.json").write_text(json.dumps(settings))
    (run / "summary.json").unlink()
    return run


def opened(launched: Any, address: str) -> Watched:
    watched = Watched(launched)
    watched.page.goto(address)
    watched.page.wait_for_selector("#now", state="attached")
    return watched


def test_it_shows_what_is_there_and_then_what_comes(
    launched: Any, folder: Path, recipe: Recipe
) -> None:
    state = initial_state(recipe, 1)
    with served(folder) as found:
        watched = opened(launched, found.addresses[0])
        page = watched.page
        page.wait_for_selector("text=5 of 15 rounds")
        found.do(lambda: found.page.on_progress(6, "bob", "training", Progress(done=3, total=8)))
        page.wait_for_selector("progress[aria-label='bob: 3 of 8']")
        found.do(lambda: found.page.on_notice(6, "carol", "is out: " + HOSTILE))
        page.wait_for_selector("text=round 6: node carol is out")
        for number in (6, 7):
            found.do(partial(found.page.on_round, made_round(number, 15), state))
        page.wait_for_selector("text=7 of 15 rounds")
        assert page.inner_text("#owners tr:has(th:text-is('anne'))").split()[7] == "7"
        keep_screenshot(page, "live-page.png")
        late = opened(launched, found.addresses[0])
        late.page.wait_for_selector("text=node carol is out")
        found.end()
        page.wait_for_selector("html[data-ended]", state="attached")
        assert "The run has ended." in page.inner_text("#now")
        assert page.title() != "owned"
        assert page.locator("main img").count() == 0
        assert watched.said == []
        assert {one.split("/")[2] for one in watched.asked} == {f"127.0.0.1:{found.port}"}


def test_its_button_stops_once_and_by_the_page_alone(launched: Any, folder: Path) -> None:
    with served(folder) as found:
        page = opened(launched, found.addresses[0]).page
        page.focus("#stop")
        page.keyboard.press("Enter")
        until(lambda: found.stopped == 1, "the stop")
        assert page.is_disabled("#stop")


def asked(served: Served, *lines: str) -> str:
    """The first line of the answer to a request as it is written here."""

    request = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        try:
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                return answer.readline().decode().strip()
        except ConnectionError:
            return ""


def test_nobody_else_reads_it_or_presses_its_button(folder: Path) -> None:
    with served(folder) as found:
        here, path = f"127.0.0.1:{found.port}", "/" + found.addresses[0].split("/", 3)[3]
        host, own = f"Host: {here}", f"Origin: http://{here}"
        assert asked(found, f"GET {path} HTTP/1.1", host) == "HTTP/1.1 200 OK"
        stop = f"POST {path}stop HTTP/1.1"
        for lines, status in {
            ("GET / HTTP/1.1", host): "404",
            (f"GET {path[:-2]}/ HTTP/1.1", host): "404",
            (f"GET /x{path} HTTP/1.1", host): "404",
            (f"GET {path} HTTP/1.1", "Host: rebound.example"): "403",
            (f"GET {path} HTTP/1.1", f"Host: rebound.example:{found.port}"): "403",
            (f"GET {path} HTTP/1.1",): "403",
            (f"GET {path} HTTP/1.1", host, "Host: rebound.example"): "400",
            (f"GET {path} HTTP/1.1", host, "Origin: https://evil.example"): "403",
            (f"GET {path}events HTTP/1.1", host, "Origin: null"): "403",
            (stop, host): "403",
            (stop, host, "Origin: https://evil.example"): "403",
            (stop, "Host: rebound.example", own): "403",
            (f"GET {path}stop HTTP/1.1", host, own): "404",
            (f"POST {path}none HTTP/1.1", host, own): "404",
            (f"POST {path}stop/1 HTTP/1.1", host, own): "409",
            (f"PUT {path} HTTP/1.1", host): "404",
            ("nonsense", host): "400",
            (f"GET {path} HTTP/1.1", "\xff: \xff"): "400",
        }.items():
            assert asked(found, *lines).split()[:2] == ["HTTP/1.1", status], lines
        assert found.stopped == 0
        assert asked(found, stop, host, own) == "HTTP/1.1 204 No Content"
        until(lambda: found.stopped == 1, "the stop")
        assert asked(found, f"GET {path} HTTP/1.1", host, "X: " + "x" * 70_000) == ""
        assert asked(found, f"GET {path} HTTP/1.1", host) == "HTTP/1.1 200 OK"


def test_more_pages_than_may_be_are_hung_up_on_and_the_others_stay(folder: Path) -> None:
    with served(folder) as found, ExitStack() as stack:
        path = "/" + found.addresses[0].split("/", 3)[3]
        head = f"GET {path}events HTTP/1.1\r\nHost: 127.0.0.1:{found.port}\r\n\r\n".encode()
        pages = []
        for _ in range(MAX_PAGES):
            one = socket.create_connection(("127.0.0.1", found.port), timeout=30)
            one.sendall(head)
            pages.append(stack.enter_context(stack.enter_context(one).makefile("rb")))
            assert pages[-1].readline() == b"HTTP/1.1 200 OK\r\n"
        assert asked(found, f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{found.port}") == ""
        for first_or_last in (pages[0], pages[-1]):
            assert b"event: run\n" in [first_or_last.readline() for _ in range(15)]


def test_a_run_is_followed_to_its_stop_from_the_page(
    launched: Any, node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    """The command as a user starts it: the button ends it as Ctrl-C does, with all rounds kept."""
    flags = ("--recipe", quick, "--rounds", 100_000, "--page", *NO_SETTINGS, *node_flags)
    process = start("server", "train", *flags, cwd=tmp_path)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "Follow the run at" in line)
    page = opened(launched, line.split()[-1]).page
    rounds = re.compile(r"not ended (\d+) of 100,000 rounds")
    until(lambda: (at := rounds.search(page.inner_text("main"))) and int(at[1]) > 2, "rounds")
    page.click("#stop")
    done = finish(process)
    assert done.code == 130
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    assert (run / "report.html").is_file()


def test_rounds_that_nobody_sees_cost_nothing_to_tell(folder: Path, recipe: Recipe) -> None:
    calls: list[Any] = []

    def addition(record: Round) -> dict[str, Any]:
        calls.append(record)
        return {}

    page = LivePage(lambda: None, addition, int, calls.append)
    page.on_round(made_round(1, 2), initial_state(recipe, 1))
    page.on_progress(1, "anne", "training", None)
    assert calls == []
