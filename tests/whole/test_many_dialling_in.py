"""Thirty nodes dial in; ten leave amid a round and come back; no bit of the model tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from scripts.local.identities import make_identities
from scripts.local.many_nodes import Pool, SharedTrainer
from server.nodes.addresses import NodeAddress
from server.nodes.members import Members
from server.nodes.port import open_port
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from shared.identity.folder import load
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.wire.commands import Progress
from shared.wire.timeouts import Timeouts
from tests.helpers.federating import ONE, Watcher
from tests.helpers.messages import made_up
from worker_node.data.shard import Shard
from worker_node.membership.admission import make_admission
from worker_node.node import DataOwnerNode
from worker_node.serving.dialling import dialling
from worker_node.serving.door import Door
from worker_node.training.trainer_process import TrainerProcess

pytestmark = pytest.mark.timeout(300)
NAMES = [f"owner{number:02d}" for number in range(30)]
LEAVING = NAMES[::3]
PATIENT = Timeouts(
    handshake_timeout=60, heartbeat=0, rejoin_window=120, dial_in_wait=120, connect_timeout=60
)


class Knocking:
    """A node that dials, and may leave as one does whose machine restarts its network."""

    def __init__(self, node: DataOwnerNode, identity: Path, url: str) -> None:
        self._door = Door(node, make_admission(load(identity, "node"), ()))
        self._url = url
        self._line = AsyncExitStack()

    async def come(self) -> None:
        self._line = AsyncExitStack()
        await self._line.enter_async_context(dialling(self._door, [self._url]))

    async def leave(self) -> None:
        await self._line.aclose()


@asynccontextmanager
async def knocking(identities: Path, url: str) -> AsyncIterator[dict[str, Knocking]]:
    shards = {name: shard_of(seed) for seed, name in enumerate(NAMES)}
    pool = Pool(TrainerProcess(shards[NAMES[0]]))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(pool.process.close)
        await pool.process.start()
        found = {}
        for name, shard in shards.items():
            node = DataOwnerNode(name, shard, SharedTrainer(shard, pool), timeouts=PATIENT)
            found[name] = Knocking(node, identities / name, url)
            await found[name].come()
            stack.push_async_callback(found[name].leave)
        yield found


def shard_of(seed: int) -> Shard:
    messages = tuple(made_up(16, seed=seed))
    return Shard(messages[:12], messages[12:])


async def trained(identities: Path, recipe: Recipe, leaving: list[str]) -> tuple[bytes, Watcher]:
    """A run's last state, as bytes; some leave in its second round, and come back."""
    watcher = Watcher()
    own = identities / "coordinator"
    gone: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        opened = open_port("wss://127.0.0.1:0", NAMES, own, PATIENT)
        port = await stack.enter_async_context(opened)
        nodes = await stack.enter_async_context(knocking(identities, port.url))

        async def leave_and_come(name: str) -> None:
            await nodes[name].leave()
            await nodes[name].come()

        def on_stage(number: int, node: str, stage: str, _: Progress | None) -> None:
            if number == 2 and node in to_leave:
                to_leave.remove(node)
                gone.append(asyncio.ensure_future(leave_and_come(node)))

        to_leave = set(leaving)
        watcher.on_stage = on_stage
        connects = {
            name: partial(port.link, NodeAddress(name, port.url, dials_in=True)) for name in NAMES
        }
        members = Members(connects, PATIENT, set(NAMES))
        try:
            await members.start(None)
            plan = Plan(seed=1, run="many", min_nodes=ONE)
            coordinator = Coordinator(members, recipe, plan, [watcher])
            state = await coordinator.run(initial_state(recipe, 1))
        finally:
            await members.close()
        await asyncio.gather(*gone)
    assert len(gone) == len(leaving)
    return state.tobytes(), watcher


def test_ten_of_thirty_leave_and_come_back_and_the_weights_are_those_of_an_undisturbed_run(
    tmp_path: Path, recipe: Recipe
) -> None:
    make_identities(tmp_path, NAMES)
    still, undisturbed = asyncio.run(trained(tmp_path, recipe, []))
    stirred, disturbed = asyncio.run(trained(tmp_path, recipe, LEAVING))
    for watcher in (undisturbed, disturbed):
        assert [len(one.nodes) for one in watcher.rounds] == [30] * len(watcher.rounds)
    came_back = {node for _, node, text in disturbed.notices if text == "is back"}
    assert came_back == set(LEAVING)
    assert stirred == still
