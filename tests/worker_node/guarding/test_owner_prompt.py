"""The owner's yes, typed at a real terminal that a real node was started from."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import STOP_SECONDS, local_nodes
from shared.errors import PolicyRefused
from shared.model.recipe import Recipe
from shared.wire.commands import TRAIN
from shared.wire.frames import Kind, unpack_error, unpack_map
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, error, reply, run, send_state, training
from tests.helpers.peers import Peer, coordinator, stranger
from tests.helpers.running import ROOT, children_of, environment, is_alive, until
from worker_node.guarding.owner_prompt import Terminal

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Owner:
    """Somebody at a node's terminal: what they type, and what they read there."""

    url: str
    keyboard: int
    screen: Path

    @property
    def read(self) -> str:
        return self.screen.read_text(encoding="utf-8")

    def type(self, text: str) -> None:
        os.write(self.keyboard, f"{text}\n".encode())

    def is_asked(self, times: int = 1) -> None:
        until(lambda: self.read.count("[y/N]") >= times, f"question {times}; read: {self.read}")


def _take_terminal() -> None:
    """In the child: the terminal at its standard input is its own, as in a window."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def at_a_terminal(screen: Path, *flags: str, job: str = "exec {}") -> Iterator[Owner]:
    """A node that was started from a terminal.

    Args:
        screen: a file that gets what it says there.
        job: how a shell starts it.
    """
    serve = ("-m", "worker_node", "serve", "--id", "bob", "--port", "0", "--json", "--insecure")
    line = shlex.join((sys.executable, *serve, *flags))
    ours, theirs = pty.openpty()
    with screen.open("wb") as written:
        process = subprocess.Popen(
            ["bash", "-c", job.format(line)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=written,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
    os.close(theirs)
    assert process.stdout is not None
    try:
        with process.stdout as stdout:
            yield Owner(json.loads(stdout.readline())["url"], ours, screen)
    finally:
        started = [*children_of(process.pid), process.pid]  # a shell's job outlives its terminal
        for pid in started:
            os.kill(pid, signal.SIGTERM)
        process.wait(STOP_SECONDS)
        until(lambda: not any(map(is_alive, started)), "the node to end")
        os.close(ours)


@pytest.fixture
def flags(owners: list[OwnerFiles], tmp_path: Path) -> tuple[str, ...]:
    """Of a node whose policy is in the test's folder, with its log beside it."""
    policy, log = tmp_path / "policy.toml", tmp_path / "audit.jsonl"
    return (*owners[1].flags, "--policy", str(policy), "--audit-log", str(log))


async def train(peer: Peer, recipe: Recipe) -> Any:
    state_id = await send_state(peer, recipe)
    return await peer.send(Kind.REQUEST, command(TRAIN, **training(recipe, state_id)))


def test_the_owner_is_asked_once_a_connection_and_the_answer_counts(
    flags: tuple[str, ...], tmp_path: Path, recipe: Recipe
) -> None:
    (tmp_path / "policy.toml").write_text('ask = ["train"]\n', encoding="utf-8")

    async def says_yes(owner: Owner) -> None:
        async with coordinator(owner.url) as peer:
            asked = await train(peer, recipe)
            owner.is_asked(1)
            await send_state(peer, recipe)  # who waits for the owner is served meanwhile
            owner.type("yes")
            assert reply(await peer.answer_to(asked))["rows"] == 140
            assert reply(await peer.answer_to(await train(peer, recipe)))["rows"] == 140

    async def says_no(owner: Owner, typed: str, times: int) -> None:
        async with coordinator(owner.url) as peer:
            owner.type("y")  # before the question, and so no answer to it
            asked = await train(peer, recipe)
            owner.is_asked(times)
            owner.type(typed)
            why = error(await peer.answer_to(asked))
            assert isinstance(why, PolicyRefused)
            assert "(rule ask)" in why.fact
            assert "the owner did not say it" in why.cause

    with at_a_terminal(tmp_path / "screen", *flags) as owner:
        run(says_yes(owner))
        run(says_no(owner, "n", 2))
        run(says_no(owner, "", 3))
    assert owner.read.count('May "a-test" at 127.0.0.1:') == 3
    assert owner.read.count("(not proved) train? [y/N]") == 3


def test_a_new_coordinator_comes_in_after_the_owners_yes_and_is_known_from_then_on(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "policy.toml").write_text('ask = ["first-time-coordinator"]\n', encoding="utf-8")

    async def first(owner: Owner) -> None:
        async with stranger(owner.url) as peer:
            refusal = await peer.greet()
            assert refusal.kind is Kind.REFUSED
            told = unpack_map(refusal.payload)
            assert set(told) == {"error"}
            assert "dial again after the yes" in unpack_error(told["error"]).cause
        owner.is_asked()
        owner.type("y")

    async def greeted(url: str) -> Kind:
        async with stranger(url) as peer:
            return (await peer.greet()).kind

    async def comes_in(url: str) -> None:
        assert await greeted(url) is Kind.HELLO

    def knows() -> bool:
        path = tmp_path / "audit.counts.json"
        return path.exists() and "a-test" in path.read_text(encoding="utf-8")

    with at_a_terminal(tmp_path / "screen", *flags) as owner:
        run(first(owner))
        until(knows, "the yes to be kept")
        run(comes_in(owner.url))
    assert owner.read.count("[y/N]") == 1
    with local_nodes({"bob": flags}) as (node,):  # without a terminal
        run(comes_in(node.url))


@pytest.mark.parametrize("job", ["set -m; {} & wait", "{} </dev/null"])
def test_nobody_is_asked_where_nobody_can_answer(
    flags: tuple[str, ...], tmp_path: Path, recipe: Recipe, job: str
) -> None:
    """In the background the system would stop a process that reads from the terminal."""
    (tmp_path / "policy.toml").write_text('ask = ["train"]\n', encoding="utf-8")

    async def session(owner: Owner) -> None:
        async with coordinator(owner.url) as peer:
            why = error(await peer.answer_to(await train(peer, recipe)))
            assert "nobody sits at its terminal" in why.cause
            owner.type("y")
            await send_state(peer, recipe)

    with at_a_terminal(tmp_path / "screen", *flags, job=job) as owner:
        run(session(owner))
    assert "[y/N]" not in owner.read


def test_silence_is_a_no_and_the_next_question_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal of this process, whose owner has a moment instead of minutes."""
    ours, theirs = pty.openpty()

    async def scene(terminal: Terminal) -> None:
        assert not await terminal.ask("May somebody train?")
        asked = asyncio.create_task(Terminal().ask("And now?"))
        while "And now?" not in capsys.readouterr().err:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(0.01)
        os.write(ours, b"y\n")
        assert await asked

    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        asyncio.run(scene(Terminal(seconds=0.05)))
    os.close(ours)
