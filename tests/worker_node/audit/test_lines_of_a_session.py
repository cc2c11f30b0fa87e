"""Which lines requests leave: of pointer commands, of a steady round, and of an owner who wants
none; and that `log --follow` goes on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import local_nodes
from shared.model.recipe import Recipe
from shared.pointers.commands import OPEN_POINTERS
from shared.pointers.frames import Item, pack_commands, unpack_answers
from shared.wire.frames import Kind
from tests.conftest import OwnerFiles
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.node_requests import command, reply, run
from tests.helpers.peers import Peer, coordinator
from tests.helpers.running import start
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.guarding.rules.pointers import PointerBounds
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess


def test_pointer_commands_without_an_answer_are_told_in_the_line_of_the_next_one_that_has_one(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    silent, asking = (pack_commands(wanted, [(Item.COUNT, None)]) for wanted in (False, True))

    async def session(url: str) -> None:
        async with coordinator(url) as peer:
            reply(await peer.ask(command(OPEN_POINTERS, seed=1, recipe=recipe.to_json())))
            for many in (3, 0):
                for _ in range(many):
                    await peer.send(Kind.COMMANDS, silent)
                asked = await peer.send(Kind.COMMANDS, asking)
                assert (await peer.answer_to(asked)).kind is Kind.REPLY

    flags = (*owners[1].flags, "--allow", "pointers", "--audit-log", str(log))
    with local_nodes({"bob": flags}) as (node,):
        run(session(node.url))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    told = [line["detail"] for line in lines if line["what"] == "pointer commands"]
    size = len(asking)
    assert told == [
        f"4 frames, {3 * len(silent) + size} bytes of commands",
        f"1 frames, {size} bytes of commands",
    ]


class Kept:
    """An audit log in memory, which tells what had to be on disk."""

    def __init__(self) -> None:
        self.durable: list[str] = []

    async def record(self, entry: Entry, durable: bool = True) -> None:
        if durable:
            self.durable.append(f"{entry.what} {entry.decision}")

    def close(self) -> None:
        """Nothing is held."""


def test_a_round_waits_for_four_lines_on_disk(owners: list[OwnerFiles], recipe: Recipe) -> None:
    shard = Shard(tuple(owners[0].train), tuple(owners[0].held_out))
    audit: Any = Kept()

    async def scene() -> None:
        trainer = TrainerProcess(shard)
        node = DataOwnerNode("anne", shard, trainer, guard=Guard(audit=audit))
        try:
            async with listening(node, "127.0.0.1", 0) as url:
                await trained({"anne": url}, of_rounds(recipe, 4), Watcher())
        finally:
            await trainer.close()

    asyncio.run(scene())
    rounds = ["train began", "train allowed", "fetch allowed", "evaluate allowed"]
    work = [line for line in audit.durable if not line.startswith(("handshake", "propose"))]
    assert work == rounds * 4


@pytest.mark.parametrize("gradients", [True, False])
def test_pointer_commands_that_are_answered_done_wait_for_no_disk_unless_that_is_counted(
    owners: list[OwnerFiles], recipe: Recipe, gradients: bool
) -> None:
    shard = Shard(tuple(owners[0].train), tuple(owners[0].held_out))
    audit: Any = Kept()
    policy = Policy(modes=["pointers"], pointers=PointerBounds(gradients=gradients))
    find = pack_commands(True, [(Item.SEARCH, ("#train", "#inputs"))])
    make = pack_commands(True, operation(1, ("torch.ones", (2,), ()), 5))
    clone = ("clone", (("r", 0),), ())

    async def scene() -> None:
        trainer = TrainerProcess(shard)
        node = DataOwnerNode("anne", shard, trainer, guard=Guard(policy, audit=audit))
        try:
            async with listening(node, "127.0.0.1", 0) as url, coordinator(url) as peer:
                reply(await peer.ask(command(OPEN_POINTERS, seed=1, recipe=recipe.to_json())))
                ((found,),) = await answers(peer, find)
                naming = pack_commands(True, operation(2, clone, found[0], 6))
                for frame in (make, naming, pack_commands(True, [(Item.SHAPE, 5)])):
                    audit.durable.append("")
                    await answers(peer, frame)
        finally:
            await trainer.close()

    asyncio.run(scene())
    synced = "".join((line and "+") or " " for line in audit.durable).split(" ")[1:]
    assert synced == ["", "" if gradients else "+", "+"]


def operation(template: int, content: Any, *ids: int) -> list[Any]:
    """Items of one command, and of its template, which gets that number."""
    numbers = b"".join(one.to_bytes(8, "little") for one in (template, *ids))
    return [(Item.TEMPLATES, (content,)), (Item.COMMANDS, numbers)]


async def answers(peer: Peer, frame: bytes) -> Any:
    answered = await peer.answer_to(await peer.send(Kind.COMMANDS, frame))
    failed, told = unpack_answers(answered.payload)
    assert not failed
    return told


def test_following_a_log_goes_on_with_each_new_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, lines=5)
    follower = start("worker_node", "log", "--follow", "--json", "--audit-log", path, cwd=tmp_path)
    try:
        assert follower.stdout is not None
        numbers = [json.loads(follower.stdout.readline())["n"] for _ in range(5)]
        write_log(path, lines=5)
        numbers += [json.loads(follower.stdout.readline())["n"] for _ in range(5)]
        assert numbers == list(range(1, 11))
    finally:
        follower.kill()
        follower.communicate()
