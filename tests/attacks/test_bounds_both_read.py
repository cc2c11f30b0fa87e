"""A bound of the owner's policy is what both sides read: a no costs no model and loses no line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from server.nodes.addresses import NodeAddress
from server.nodes.client import NodeClient, pack_state
from server.nodes.dial import dial
from server.rounds.cohort import MinNodes
from shared.errors import PolicyRefused
from shared.model.recipe import Recipe
from shared.model.vectors import new_object_id
from shared.wire.commands import EVALUATE, PROPOSE, TRAIN, ProposeCommand
from shared.wire.handshake import Greeting
from tests.attacks.scene import report
from tests.conftest import OwnerFiles
from tests.helpers.false_nodes import Counting, says_no
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.node_requests import command, error, reply, send_state, training
from tests.helpers.peers import coordinator, false_node
from worker_node.audit.lines import Entry
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess

pytestmark = pytest.mark.timeout(120)
MIB = 2**20


class Kept:
    """An audit log in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.failed = asyncio.Event()

    async def record(self, entry: Entry, durable: bool = True) -> None:
        self.entries.append(entry)
        if entry.decision == "failed":
            self.failed.set()

    def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def node_of(
    owner: OwnerFiles, policy: dict[str, Any], audit: Kept | None = None
) -> AsyncIterator[str]:
    shard = Shard(tuple(owner.train), tuple(owner.held_out))
    trainer = TrainerProcess(shard)
    guard = Guard(Policy.model_validate(policy), audit)
    node = DataOwnerNode(owner.id, shard, trainer, guard=guard)
    try:
        async with listening(node, "127.0.0.1", 0) as url:
            yield url
    finally:
        await trainer.close()


def test_a_model_beyond_the_policy_is_refused_once_by_rule_and_no_line_is_lost(
    owners: list[OwnerFiles], caplog: pytest.LogCaptureFixture
) -> None:
    """A MiB above: where the frame's limit cut it before, and the run dialled 51 times."""
    bound = 20_000
    tables = {"text": {"buckets": (4 * bound + 3 * MIB) // 200}, "training": {"batch_size": 16}}
    recipe = Recipe.model_validate(tables)
    assert 4 * recipe.parameters > 4 * bound + MIB
    watcher, audit = Watcher(), Kept()

    async def session() -> None:
        small = {"recipe": {"parameters": bound}}
        async with node_of(owners[0], {}) as good, node_of(owners[1], small, audit) as strict:
            urls = {owners[0].id: good, owners[1].id: strict}
            await trained(urls, of_rounds(recipe, 4), watcher, min_nodes=MinNodes(count=1))

    with caplog.at_level(logging.DEBUG):
        asyncio.run(session())
    why = "(rule recipe.parameters)"
    assert [list(record.left_out) for record in watcher.rounds] == [[owners[1].id]] * 4
    assert [why in text for _, node, text in watcher.notices if node == owners[1].id] == [True]
    assert [entry.what for entry in audit.entries] == ["handshake", PROPOSE]
    assert why in audit.entries[1].detail
    assert "Traceback" not in caplog.text
    assert "exception was never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("policy", "work", "rule"),
    [
        ({"modes": ["evaluate"]}, "train", "modes"),
        ({"modes": ["train"]}, "evaluate", "modes"),
        ({"hours": {"days": []}}, "train", "hours"),
        ({"fewest_rows": 10_000}, "train", "fewest_rows"),
        ({"fewest_held_out_rows": 10_000}, "evaluate", "fewest_held_out_rows"),
        ({"recipe": {"tokens": 1}}, "evaluate", "recipe.tokens"),
        ({"recipe": {"rounds": 2}}, "train", "recipe.rounds"),
        ({"recipe": {"fewest_rows_a_step": 9}}, "train", "recipe.fewest_rows_a_step"),
        ({"day": {"rounds": 0}}, "train", "day.rounds"),
        ({"day": {"evaluations": 0}}, "evaluate", "day.evaluations"),
        ({"ask": ["train"]}, "train", "ask"),
    ],
)
def test_a_proposal_is_judged_by_every_rule_that_the_work_is(
    owners: list[OwnerFiles], recipe: Recipe, policy: dict[str, Any], work: Any, rule: str
) -> None:
    async def session() -> None:
        async with node_of(owners[0], policy) as url, coordinator(url) as peer:
            wanted = ProposeCommand(work=work, run="one", recipe=recipe.to_json(), rounds=3)
            answer = await peer.ask(command(PROPOSE, **wanted.model_dump()))
            assert f"(rule {rule})" in error(answer).fact

    asyncio.run(session())


def test_a_proposal_counts_for_nothing(owners: list[OwnerFiles], recipe: Recipe) -> None:
    async def session() -> None:
        async with node_of(owners[0], {"day": {"rounds": 1}}) as url, coordinator(url) as peer:
            wanted = {"work": "train", "run": "one", "recipe": recipe.to_json(), "rounds": 1}
            for _ in range(3):
                answer = await peer.ask(command(PROPOSE, **wanted))
                assert answer.kind.name == "REPLY"

    asyncio.run(session())


def test_who_comes_back_for_what_is_remembered_may_propose_it_on_a_day_that_is_full(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    """Else a lost line would cost the training that counted; another run is another training."""

    async def session() -> None:
        policy = {"day": {"rounds": 1}, "recipe": {"rounds": 2}}
        async with node_of(owners[0], policy) as url:
            async with coordinator(url) as peer:
                state_id = await send_state(peer, recipe)
                wanted = training(recipe, state_id, run="one")
                reply(await peer.ask(command(TRAIN, **wanted)))
            proposed = {"work": "train", "run": "one", "recipe": recipe.to_json(), "rounds": 1}
            async with coordinator(url) as peer:
                answer = await peer.ask(command(PROPOSE, **proposed))
                assert answer.kind.name == "REPLY"
                answer = await peer.ask(command(PROPOSE, **{**proposed, "run": "two"}))
                assert "(rule day.rounds)" in error(answer).fact
                answer = await peer.ask(command(PROPOSE, **{**proposed, "rounds": 3}))
                assert "(rule recipe.rounds)" in error(answer).fact

    asyncio.run(session())


def test_what_a_node_would_hang_up_on_is_not_sent(owners: list[OwnerFiles]) -> None:
    async def session() -> None:
        async with node_of(owners[0], {"recipe": {"parameters": 1000}}) as url:
            link = await dial(NodeAddress(owners[0].id, url))
            client = NodeClient(owners[0].id, link)
            assert link.greeting.most_bytes == 4000 + MIB
            sent, state_id = link.bytes_sent, new_object_id()
            with pytest.raises(PolicyRefused, match=r"rule recipe\.parameters"):
                await client.send_state(
                    pack_state(np.ones(MIB // 4 + 2000, np.float32), None, state_id)
                )
            assert link.bytes_sent == sent
            assert not link.loss.done()
            await link.round_trip()
            await link.close()
            report("a model beyond the policy's bound", "not run here", "refused before it is sent")

    asyncio.run(session())


def test_a_coordinator_that_sends_it_all_the_same_stands_in_the_owners_log(
    owners: list[OwnerFiles],
) -> None:
    audit = Kept()

    async def session() -> None:
        async with node_of(owners[0], {"recipe": {"parameters": 1000}}, audit) as url:
            async with coordinator(url) as peer:
                await peer.connection.send(bytes(2 * MIB))
                with pytest.raises(Exception, match="1009"):
                    await peer.connection.recv()
            async with asyncio.timeout(10):
                await audit.failed.wait()

    asyncio.run(session())
    last = audit.entries[-1]
    assert (last.what, last.decision) == ("frame", "failed")
    assert "1009" in last.detail


def test_a_node_that_may_not_even_be_asked_gets_no_model(recipe: Recipe) -> None:
    mallory = Counting(recipe, **{PROPOSE: says_no})
    watcher = Watcher()

    async def session() -> None:
        async with (
            false_node(Counting(recipe), "anne") as anne,
            false_node(mallory, "mallory") as url,
        ):
            urls = {"anne": anne, "mallory": url}
            await trained(urls, of_rounds(recipe, 3), watcher, min_nodes=MinNodes(count=1))

    asyncio.run(session())
    assert mallory.asked[PROPOSE] == 1
    assert (mallory.asked["state"], mallory.asked[TRAIN], mallory.asked[EVALUATE]) == (0, 0, 0)
    assert len(mallory.connections) == 1


def test_a_greeting_of_an_impossible_bound_is_none() -> None:
    with pytest.raises(ValueError, match="most_bytes"):
        Greeting(role="node", id="bob", most_bytes=-1)
