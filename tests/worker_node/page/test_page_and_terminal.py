"""Asked at a real terminal and on the page at once: the first answer counts."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import PolicyRefused
from shared.model.recipe import Recipe
from tests.conftest import OwnerFiles
from tests.helpers.federating import until as until_now
from tests.helpers.node_requests import error, reply, run
from tests.helpers.peers import coordinator
from tests.helpers.running import refused, until
from tests.helpers.running import run as run_module
from tests.worker_node.guarding.test_owner_prompt import Owner, at_a_terminal, train
from worker_node.guarding.owner import Owner as Asked
from worker_node.guarding.owner_prompt import Terminal

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def owner(owners: list[OwnerFiles], tmp_path: Path) -> Iterator[Owner]:
    """At the terminal of a node that serves the page too, and asks about each training."""
    (tmp_path / "policy.toml").write_text('ask = ["train"]\n', encoding="utf-8")
    own = ("--policy", str(tmp_path / "policy.toml"), "--audit-log", "off", "--page")
    with at_a_terminal(tmp_path / "screen", *owners[1].flags, *own) as found:
        yield found


def on_page(owner: Owner, request: str) -> str:
    """The status, after a request of the page itself."""
    said = re.search(r"page is at http://(127\.0\.0\.1):(\d+)(/\S+/)", owner.read)
    assert said is not None, owner.read
    host, port, path = said.groups()
    method, _, name = request.partition(" ")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        here = f"{host}:{port}"
        lines = (f"{method} {path}{name} HTTP/1.1", f"Host: {here}", f"Origin: http://{here}")
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with connection.makefile("rb") as answer:
            return answer.readline().decode().split()[1]


def test_what_is_answered_on_the_page_is_no_longer_asked_at_the_terminal(
    owner: Owner, recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(owner.url) as peer:
            asked = await train(peer, recipe)
            owner.is_asked()
            assert await asyncio.to_thread(on_page, owner, "POST answer/1/yes") == "204"
            assert reply(await peer.answer_to(asked))["rows"] == 140

    run(session())
    until(lambda: "no longer asked" in owner.read, "the question to be withdrawn")


def test_what_is_answered_at_the_terminal_is_no_longer_asked_on_the_page(
    owner: Owner, recipe: Recipe
) -> None:
    async def session() -> None:
        async with coordinator(owner.url) as peer:
            asked = await train(peer, recipe)
            owner.is_asked()
            owner.type("n")
            assert isinstance(error(await peer.answer_to(asked)), PolicyRefused)
            assert await asyncio.to_thread(on_page, owner, "POST answer/1/yes") == "409"
            again = await train(peer, recipe)  # the second question is another
            owner.is_asked(2)
            assert await asyncio.to_thread(on_page, owner, "POST answer/1/yes") == "409"
            assert await asyncio.to_thread(on_page, owner, "POST answer/2/no") == "204"
            assert isinstance(error(await peer.answer_to(again)), PolicyRefused)

    run(session())


class Nobody(Terminal):
    """A terminal that nobody sits at."""

    @property
    def is_there(self) -> bool:
        return False


def asking(scene: Any, seconds: float = 60.0) -> None:
    """Runs a scene with an owner who has the page alone."""

    async def begun() -> None:
        owner = Asked(Nobody(seconds))
        assert not owner.is_there
        owner.has_page = True
        assert owner.is_there
        await scene(owner)
        assert owner.waiting == []

    asyncio.run(begun())


def test_questions_stand_together_and_each_answer_is_of_its_own() -> None:
    async def scene(owner: Asked) -> None:
        changes: list[int] = []
        owner.changed = lambda: changes.append(len(owner.waiting))
        ways = [asyncio.create_task(owner.ask(f"May {name}?")) for name in ("anne", "bob", "carol")]
        await until_now(lambda: len(owner.waiting) == 3, "three questions")
        assert [one.question for one in owner.waiting] == ["May anne?", "May bob?", "May carol?"]
        assert owner.answer(2, True)
        assert not owner.answer(2, False)
        assert owner.answer(3, False)
        ways[0].cancel()
        found = await asyncio.gather(*ways, return_exceptions=True)
        assert found[1:] == [True, False]
        assert isinstance(found[0], asyncio.CancelledError)
        assert not owner.answer(1, True)
        assert changes == [1, 2, 3, 2, 1, 0]

    asking(scene)


def test_silence_on_the_page_is_a_no() -> None:
    async def scene(owner: Asked) -> None:
        assert not await owner.ask("May somebody?")

    asking(scene, seconds=0.01)


def test_a_node_in_a_container_says_why_it_has_no_page(
    owners: list[OwnerFiles], tmp_path: Path
) -> None:
    """FEDSMS_IMAGE is what its image sets."""
    serve = ("serve", "--id", "bob", "--insecure", "--page", *owners[1].flags)
    done = run_module("worker_node", *serve, cwd=tmp_path, FEDSMS_IMAGE="node")
    refused(done, "--page does not go with a node in a container", code=2)
    assert "log --follow" in done.err
    dockerfile = (Path(__file__).parents[3] / "Dockerfile").read_text(encoding="utf-8")
    node = dockerfile.split(" AS node\n")[1].split("\nFROM ")[0]
    assert "FEDSMS_IMAGE=node" in node
