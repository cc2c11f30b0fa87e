"""The owner's page of a real node in a real browser: what it shows, and who presses its buttons."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes
from shared.errors import NodeUnreachable, PolicyRefused
from shared.model.recipe import Recipe
from shared.privacy.accountant import mu_of
from shared.pysyft import ObjectRequestMessage
from shared.wire.commands import COMPARE, EVALUATE, TRAIN
from shared.wire.frames import Frame, Kind
from shared.wire.handshake import Greeting
from tests.conftest import OwnerFiles
from tests.helpers.beside import Beside, beside
from tests.helpers.browser import Watched, browser, keep_screenshot
from tests.helpers.node_requests import command, error, pack, reply, send_state, training
from tests.helpers.peers import Peer, coordinator, stranger
from tests.helpers.pointers import worker, write_recipe
from tests.helpers.running import until
from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.ledger import Ledger

pytestmark = pytest.mark.timeout(180)
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
POLICY = 'ask = ["first-time-coordinator", "evaluate"]\n[day]\ncomparisons = 0\n'


@pytest.fixture(scope="module")
def launched() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def elsewhere() -> Iterator[Beside]:
    """Where coordinators are, as the browser has this thread."""
    with beside() as made:
        yield made


class Served:
    """A node with its page, and its log."""

    def __init__(self, node: LocalNode, log: Path) -> None:
        self.node = node
        self.log = log

    @property
    def address(self) -> str:
        said = re.search(r"The owner's page is at (\S+)", "\n".join(self.node.log))
        assert said is not None
        return said[1]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]


@contextmanager
def served(owner: OwnerFiles, folder: Path, policy: str = "", *flags: str) -> Iterator[Served]:
    (folder / "policy.toml").write_text(policy, encoding="utf-8")
    log = folder / "audit.jsonl"
    own = ("--policy", str(folder / "policy.toml"), "--audit-log", str(log), "--page")
    with local_nodes({owner.id: (*owner.flags, *own, *flags)}) as (node,):
        found = Served(node, log)
        until(lambda: "The owner's page" in "\n".join(node.log), "the page's address")
        yield found


def opened(launched: Any, address: str, **looks: Any) -> Watched:
    watched = Watched(launched, **looks)
    watched.page.goto(address)
    watched.page.wait_for_selector("#pause")
    return watched


async def comes_in(url: str) -> bool:
    async with stranger(url) as peer:
        return (await peer.greet()).kind is Kind.HELLO


async def works(url: str, recipe: Recipe) -> None:
    """Trains, fetches the model, and is refused a comparison."""
    async with coordinator(url) as peer:
        state_id = await send_state(peer, recipe)
        wanted = training(recipe, state_id, result_id=8)
        assert reply(await peer.ask(command(TRAIN, **wanted)))["rows"] == 140
        reply(await peer.ask(pack(ObjectRequestMessage(8, None, ""))))
        compared = {"state_id": state_id, "run": "one", "recipe": recipe.to_json(), "seed": 1}
        compared |= {"start": 1, "rounds": 1, "secure": False}
        refused = error(await peer.ask(command(COMPARE, **compared)))
        assert isinstance(refused, PolicyRefused), refused
        assert refused.rule == "day.comparisons"


async def measures(url: str, recipe: Recipe) -> Frame:
    async with coordinator(url) as peer:
        state_id = await send_state(peer, recipe)
        wanted = {"state_id": state_id, "base_id": None, "recipe": recipe.to_json()}
        return await peer.ask(command(EVALUATE, **wanted))


def cells(page: Any, section: str, row: str) -> list[str]:
    found: list[str] = page.locator(f"#{section} tr:has(th:text('{row}')) td").all_inner_texts()
    return found


def test_it_shows_who_asked_for_what_and_what_left_as_it_happens(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path, POLICY) as found:
        watched = opened(launched, found.address)
        page = watched.page
        assert "140 messages to train on" in page.inner_text("#state-place")
        page.wait_for_selector("#verdict:text('It verifies.')")
        assert not elsewhere.do(comes_in(found.node.url))
        page.wait_for_selector("text=(not proved) work with this node?")
        page.click(".question button:text('Yes')")
        until(lambda: elsewhere.do(comes_in(found.node.url)), "the coordinator to be let in")
        elsewhere.do(works(found.node.url, recipe))
        page.wait_for_selector("#refused th:text('day.comparisons')")
        page.wait_for_selector("#today td:text-is('1') >> nth=0")
        asked = cells(page, "who-asked-for-what-and-what-left", "a-test")
        assert "train 1" in asked[0]
        assert "fetch 1" in asked[0]
        left = sum(line["bytes_out"] for line in found.lines)
        assert asked[4] == f"{left:,} B"
        assert cells(page, "refused", "day.comparisons")[:3] == ["1", "a-test", COMPARE]
        measuring = elsewhere.begin(measures(found.node.url, recipe))
        page.wait_for_selector("text=evaluate?")
        keep_screenshot(page, "owner-page.png")
        late = opened(launched, found.address)  # later ones see all
        assert "train 1" in late.page.inner_text("#asked-place")
        late.page.wait_for_selector("text=evaluate?")
        page.click(".question button:text('Yes')")
        assert reply(measuring.result(60))["ham"]
        late.page.wait_for_selector(".question", state="detached")
        assert watched.said == []
        assert {one.split("/")[2] for one in watched.asked} == {found.address.split("/")[2]}
        found.node.stop()
        page.wait_for_selector("#state:text('has stopped')")
        assert page.is_disabled("#pause")


def test_the_owner_pauses_and_goes_on_by_the_keyboard(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path) as found:
        page = opened(launched, found.address).page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pause"
        page.keyboard.press("Enter")
        page.wait_for_selector("#state:text('paused')")
        assert not elsewhere.do(comes_in(found.node.url))
        page.wait_for_selector("#refused th:text-is('pause')")
        assert page.evaluate("document.activeElement.id") == "pause"
        assert page.inner_text("#pause") == "Go on"
        page.keyboard.press("Enter")
        page.wait_for_selector("#state:text('serves')")
        assert elsewhere.do(comes_in(found.node.url))
        assert [line["what"] for line in found.lines if not line["address"]][1:] == [
            *("pause", "go on")
        ]


def test_a_no_by_the_keyboard_is_one(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path, 'ask = ["evaluate"]\n') as found:
        page = opened(launched, found.address).page
        measuring = elsewhere.begin(measures(found.node.url, recipe))
        page.wait_for_selector(".question button:enabled")
        page.focus("#pause")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "No"
        page.keyboard.press("Enter")
        refused = error(measuring.result(60))
        assert isinstance(refused, PolicyRefused)
        assert "the owner did not say it" in refused.cause


def test_a_question_that_goes_moves_no_other_under_the_owners_finger(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path, 'ask = ["evaluate"]\n') as found:
        page = opened(launched, found.address).page
        first = elsewhere.begin(measures(found.node.url, recipe))
        page.wait_for_selector("#no-1:enabled")
        page.evaluate("() => { window.due = []; window.setTimeout = (act) => due.push(act); }")
        second = elsewhere.begin(measures(found.node.url, recipe))
        page.wait_for_selector("#no-2", state="attached")
        assert page.is_disabled("#no-2")  # it is new: nobody can have meant it
        assert page.is_enabled("#no-1")  # and this one is where it was
        page.evaluate("() => { for (const act of due) act(); }")
        assert page.is_enabled("#no-2")
        place = page.locator("#no-2").bounding_box()
        page.click("#no-1")
        assert isinstance(error(first.result(60)), PolicyRefused)
        page.wait_for_selector("text=You said no.")
        assert page.locator("#no-2").bounding_box() == place
        assert page.is_enabled("#no-2")
        page.click("#yes-2")
        assert reply(second.result(60))["ham"]
        page.wait_for_selector(".question", state="detached")


async def speaks_ill(url: str) -> None:
    """A coordinator whose every word is markup."""
    async with stranger(url) as peer:
        await peer.greet(Greeting(role="coordinator", id=HOSTILE))
        await peer.ask(pack(ObjectRequestMessage(HOSTILE, None, "")))
        await peer.ask(command(HOSTILE, **{HOSTILE: HOSTILE}))


def test_nothing_that_a_peer_says_runs_there(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    async def asks(peer_name: str) -> Frame:
        async with stranger(found.node.url) as peer:
            await peer.greet(Greeting(role="coordinator", id=peer_name))
            return await _evaluate(peer, recipe)

    with served(owners[1], tmp_path, 'ask = ["evaluate"]\n') as found:
        watched = opened(launched, found.address)
        page = watched.page
        elsewhere.do(speaks_ill(found.node.url))
        asking = elsewhere.begin(asks(HOSTILE))
        page.wait_for_selector(".question")
        assert "<img src=x" in page.inner_text(".question")
        assert "<img src=x" in page.inner_text("#asked-place")
        assert "<img src=x" in page.inner_text("#lines-place")
        page.click(".question button:text('No')")
        assert isinstance(error(asking.result(60)), PolicyRefused)
        assert page.title() == "fedsms: node bob"
        assert page.locator("main img, main script").count() == 0
        assert watched.said == []


async def _evaluate(peer: Peer, recipe: Recipe) -> Frame:
    state_id = await send_state(peer, recipe)
    wanted = {"state_id": state_id, "base_id": None, "recipe": recipe.to_json()}
    return await peer.ask(command(EVALUATE, **wanted))


def test_it_fits_a_narrow_window_the_dark_and_the_light(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path, POLICY.replace('"first-time-coordinator", ', "")) as found:
        elsewhere.do(works(found.node.url, recipe))
        measuring = elsewhere.begin(measures(found.node.url, recipe))
        papers = set()
        for width, scheme in ((400, "light"), (400, "dark"), (1100, "dark")):
            page = opened(launched, found.address, width=width, scheme=scheme).page
            page.wait_for_selector(".question button:enabled")
            page.wait_for_selector("#refused th:text('day.comparisons')")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            box = page.locator(".question button:text('No')").bounding_box()
            assert box["x"] + box["width"] <= width
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            papers.add((scheme, paper))
            if (width, scheme) == (400, "dark"):
                keep_screenshot(page, "owner-page-narrow.png")
        assert len(papers) == 2
        page.click(".question button:text('No')")
        error(measuring.result(60))


def test_a_log_that_was_changed_is_said_to_be(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path) as found:
        assert elsewhere.do(comes_in(found.node.url))
        page = opened(launched, found.address).page
        page.click("#check")
        page.wait_for_selector("#verdict:text('It verifies.')")
        page.wait_for_selector("text=Lines 1 to 2 are all there")
        data = found.log.read_bytes()
        with found.log.open("r+b") as file:
            file.seek(data.index(b"a-test"))
            file.write(b"a-rest")
        page.click("#check")
        page.wait_for_selector("#verdict:text('It does NOT verify.')")


def test_a_node_without_a_log_shows_the_same_and_no_verdict(
    launched: Any, owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    policy = POLICY.replace('"first-time-coordinator", ', "")
    with served(owners[1], tmp_path, policy, "--audit-log", "off") as found:
        page = opened(launched, found.address).page
        elsewhere.do(works(found.node.url, recipe))
        page.wait_for_selector("#refused th:text('day.comparisons')")
        assert "train 1" in cells(page, "who-asked-for-what-and-what-left", "a-test")[0]
        assert "There is no log, as you asked." in page.inner_text("#the-log")
        assert page.is_hidden("#check")


def test_it_shows_what_the_privacy_ledger_says(
    launched: Any, owners: list[OwnerFiles], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "audit.privacy.jsonl")
    mu = mu_of(1.0, 1e-5)
    for number in (1, 2):
        which = Run(HOSTILE, "a-run", "training")
        ledger.charge(which, number, "x", Terms(30, "ab" * 32, mu, mu), None)
        ledger.answer(which, number, b"numbers")
    ledger.close()
    with served(owners[1], tmp_path, "[differential_privacy]\nepsilon = 2.0\n") as found:
        page = opened(launched, found.address).page
        assert cells(page, "privacy-budget", "training")[:3] == ["1.00", "1.00", "2.00"]
        assert cells(page, "privacy-budget", "training")[-1] == "message"
        assert cells(page, "privacy-budget", "held-out")[:3] == ["0.00", "0.00", "4.00"]
        told = cells(page, "privacy-budget", "<img src=x")
        assert told[:5] == ["a-run", "training", "2", "30", "1.00"]
        assert "until it is over" in told[5]


def asked(address: str, *lines: str) -> str:
    """The status of a request as it is written here."""
    request = "".join(f"{line}\r\n" for line in (*lines, "")).encode()
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as answer:
            return answer.readline().decode().split()[1]


def test_nobody_else_reads_it_or_presses_its_buttons(
    owners: list[OwnerFiles], elsewhere: Beside, recipe: Recipe, tmp_path: Path
) -> None:
    with served(owners[1], tmp_path, 'ask = ["evaluate"]\n') as found:
        here, path = found.address.split("/")[2], "/" + found.address.split("/", 3)[3]
        assert here.startswith("127.0.0.1:")
        host, own = f"Host: {here}", f"Origin: http://{here}"
        evil = "Origin: https://evil.example"
        measuring = elsewhere.begin(measures(found.node.url, recipe))
        until(lambda: "evaluate?" in _first_event(found.address), "the question")
        for button in ("pause", "go-on", "check", "answer/1/yes"):
            post = f"POST {path}{button} HTTP/1.1"
            assert asked(found.address, post, host) == "403"
            assert asked(found.address, post, host, evil) == "403"
            assert asked(found.address, post, "Host: rebound.example", own) == "403"
            assert asked(found.address, f"POST /{button} HTTP/1.1", host, own) == "404"
            assert asked(found.address, f"GET {path}{button} HTTP/1.1", host, own) == "404"
        assert not measuring.done()
        assert {line["what"] for line in found.lines} & {"pause", "go on"} == set()
        for wrong in ("2/yes", "1/maybe", "1", "", "x/yes", "²/yes", "1/yes/more"):
            answer = f"POST {path}answer/{wrong} HTTP/1.1".encode()
            shown = answer.decode("ascii", "ignore")
            assert asked(found.address, shown, host, own) == "409", wrong
        assert asked(found.address, f"POST {path}pause/now HTTP/1.1", host, own) == "409"
        assert asked(found.address, f"POST {path}answer/1/yes HTTP/1.1", host, own) == "204"
        assert reply(measuring.result(60))["ham"]
        assert asked(found.address, f"POST {path}answer/1/yes HTTP/1.1", host, own) == "409"


def _first_event(address: str) -> str:
    host, port = address.split("/")[2].split(":")
    path = "/" + address.split("/", 3)[3]
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"GET {path}events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("rb") as answer:
            return next(line.decode() for line in answer if line.startswith(b"data:"))


def test_a_pause_ends_sessions_of_pointer_operations(
    owners: list[OwnerFiles], tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path)
    with served(owners[1], tmp_path, 'modes = ["train", "pointers"]\n') as found:
        here, path = found.address.split("/")[2], "/" + found.address.split("/", 3)[3]
        own = (f"Host: {here}", f"Origin: http://{here}")
        with worker(found.node, recipe) as bob:
            x: Any = torch.tensor([1.0, 2.0]).send(bob)  # type: ignore[attr-defined]
            assert (x * 2).get().tolist() == [2, 4]
            assert asked(found.address, f"POST {path}pause HTTP/1.1", *own) == "204"
            with pytest.raises(NodeUnreachable, match="owner has paused it"):
                (x * 2).get()
        with pytest.raises(PolicyRefused, match="owner has paused it"), worker(found.node, recipe):
            pass
        assert asked(found.address, f"POST {path}go-on HTTP/1.1", *own) == "204"
        with worker(found.node, recipe) as bob:
            again: Any = torch.tensor([1.0]).send(bob)  # type: ignore[attr-defined]
            assert (again * 2).get().tolist() == [2]
