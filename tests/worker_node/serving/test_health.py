"""A node that tells its health, and one that goes by itself when its work is done."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from scripts.local.nodes import LocalNode, start_node, wait_until_ready
from shared.model.recipe import Recipe
from shared.wire.commands import TRAIN
from shared.wire.transport import BACK_SOON
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, reply, send_state, training, works
from tests.helpers.node_requests import run as run_async
from tests.helpers.peers import coordinator
from tests.helpers.running import PATIENCE_SECONDS, Finished, answers, children_of, run, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def node(owners: list[OwnerFiles], tmp_path: Path) -> Iterator[LocalNode]:
    """Bob's node, with a health socket in the test's folder."""
    started = start_node("bob", (*owners[1].flags, "--health-socket", str(tmp_path / "health")))
    try:
        wait_until_ready(started)
        yield started
    finally:
        started.process.send_signal(signal.SIGCONT)
        started.stop()


def ask(folder: Path) -> Finished:
    return run("worker_node", "health", "--health-socket", folder / "health", cwd=folder)


def test_a_node_is_well_until_its_trainer_dies_and_again_with_the_next_training(
    node: LocalNode, tmp_path: Path, recipe: Recipe
) -> None:
    healthy = ask(tmp_path)
    assert healthy.code == 0
    assert json.loads(healthy.out) == {
        "node": "bob",
        "well": True,
        "trainer": "running",
        "busy": "",
    }
    (trainer,) = children_of(node.process.pid)
    os.kill(trainer, signal.SIGKILL)
    until(lambda: ask(tmp_path).code == 6, "the node to miss its trainer")
    assert "training process died" in ask(tmp_path).err
    run_async(works(node.url, recipe))
    assert ask(tmp_path).code == 0


def test_a_node_that_hangs_or_is_gone_does_not_answer(node: LocalNode, tmp_path: Path) -> None:
    node.process.send_signal(signal.SIGSTOP)
    assert ask(tmp_path).code == 4
    node.process.send_signal(signal.SIGCONT)
    until(lambda: ask(tmp_path).code == 0, "the node to answer again")
    node.process.kill()
    node.process.wait()
    gone = ask(tmp_path)
    assert gone.code == 4
    assert "no node tells its health" in gone.err


def test_a_node_with_one_run_to_serve_goes_after_a_training_and_not_before(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    node = start_node("bob", (*owners[1].flags, "--runs", "1"))
    try:
        wait_until_ready(node)
        assert answers("bob", node.url)
        assert answers("bob", node.url)
        run_async(works(node.url, recipe))
        assert node.process.wait(PATIENCE_SECONDS) == 0
    finally:
        node.stop()


def test_a_coordinator_whose_line_breaks_or_that_will_be_back_goes_on_with_its_one_run(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    async def trains(*, leaves: Callable[[ClientConnection], Awaitable[None]]) -> None:
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            reply(await peer.ask(command(TRAIN, **training(recipe, state_id))))
            await leaves(peer.connection)

    async def breaks(connection: ClientConnection) -> None:
        connection.transport.abort()

    async def will_be_back(connection: ClientConnection) -> None:
        await connection.close(BACK_SOON)

    async def says_goodbye(connection: ClientConnection) -> None:
        await connection.close()

    def noticed() -> bool:
        return any("a-test left" in line for line in bob.log)

    bob = start_node("bob", (*owners[1].flags, "--runs", "1"))
    try:
        wait_until_ready(bob)
        for leaves in (breaks, will_be_back):
            bob.log.clear()
            run_async(trains(leaves=leaves))
            until(noticed, "the node to notice")
            assert answers("bob", bob.url)
        run_async(trains(leaves=says_goodbye))
        assert bob.process.wait(PATIENCE_SECONDS) == 0
        assert any("the runs to serve are done" in line for line in bob.log)
    finally:
        bob.stop()


def test_a_node_to_which_nobody_comes_goes_when_its_patience_ends(
    owners: list[OwnerFiles],
) -> None:
    node = start_node("bob", (*owners[1].flags, "--patience", "0.1"))
    try:
        wait_until_ready(node)
        assert node.process.wait(PATIENCE_SECONDS) == 0
        assert any("no coordinator has come" in line for line in node.log)
    finally:
        node.stop()
