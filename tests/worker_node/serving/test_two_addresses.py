"""A node that dials two addresses of one coordinator keeps one line to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from server.nodes.addresses import NodeAddress
from server.nodes.port import open_port
from shared.identity.folder import load
from tests.helpers.dialling_nodes import PATIENT
from tests.helpers.federating import until
from tests.helpers.identities import make_federation
from worker_node.data.shard import Message, Shard
from worker_node.membership.admission import make_admission
from worker_node.node import DataOwnerNode
from worker_node.serving.dialling import dialling
from worker_node.serving.door import Door
from worker_node.training.trainer_process import TrainerProcess

pytestmark = pytest.mark.timeout(120)


def test_of_two_addresses_of_one_coordinator_one_is_dialled_while_its_line_stands(
    tmp_path: Path,
) -> None:
    ours = make_federation(tmp_path / "ours")
    coordinator, bob = ours.coordinator(), ours.node("bob")
    rows = (Message(0, "a"), Message(1, "b"))

    async def scene() -> None:
        trainer = TrainerProcess(shard := Shard(rows, rows))
        node = DataOwnerNode("bob", shard, trainer, timeouts=PATIENT)
        door = Door(node, make_admission(load(bob, "node"), ()))
        opened = open_port("wss://127.0.0.1:0", {"bob"}, coordinator, PATIENT)
        async with opened as port:
            urls = [port.url, port.url.replace("127.0.0.1", "localhost")]
            async with dialling(door, urls) as lines:
                await until(
                    lambda: any(one.state.startswith("idle") for one in lines), "an idle one"
                )
                (idle,) = [one for one in lines if one.state.startswith("idle")]
                (kept,) = [one for one in lines if one is not idle]
                assert idle.state == f"idle: the coordinator is the one at {kept.url}"
                link = await port.link(NodeAddress("bob", port.url, dials_in=True))
                for _ in range(20):  # nothing takes its place
                    assert await link.round_trip() > 0
                assert idle.state.startswith("idle")
                await link.close()
                again = await port.link(NodeAddress("bob", port.url, dials_in=True))
                assert await again.round_trip() > 0
                await again.close()
        await trainer.close()

    asyncio.run(scene())
