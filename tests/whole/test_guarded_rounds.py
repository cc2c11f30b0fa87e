"""A node that protects its owner, in a federation that goes on: repeated requests, lines that break
again and again, busy peers, and a rule that says no amid a run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from scripts.local.faulty_line import line_to
from scripts.local.nodes import LocalNode, local_nodes
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from shared.errors import FedsmsError, PolicyRefused
from shared.model.recipe import Recipe
from shared.pointers.commands import OPEN_POINTERS
from shared.pysyft import ObjectMessage, ObjectRequestMessage
from shared.wire.commands import CANCEL, TRAIN
from shared.wire.frames import Kind
from shared.wire.heartbeat import BEATS, HeardClient
from shared.wire.timeouts import Timeouts
from shared.wire.transport import transport_options
from tests.conftest import OwnerFiles
from tests.helpers.federating import training as training_goes_on
from tests.helpers.federating import until
from tests.helpers.node_requests import command, error, pack, reply, run, send_state, training
from tests.helpers.peers import Peer, coordinator
from tests.helpers.running import Finished
from worker_node.data.shard import Message, Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.owner_prompt import Terminal
from worker_node.guarding.pace import Pace
from worker_node.guarding.policy import Policy
from worker_node.node import DataOwnerNode
from worker_node.serving.door import MAX_SESSIONS_OF_ONE
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess

pytestmark = pytest.mark.timeout(120)


def lines_of(log: Path, what: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line["what"] == what]


# A request that is repeated


@pytest.fixture
def strict(owners: list[OwnerFiles], tmp_path: Path) -> Iterator[tuple[LocalNode, Path]]:
    """A node that trains once a day, and its audit log."""
    policy, log = tmp_path / "policy.toml", tmp_path / "audit.jsonl"
    policy.write_text("[day]\nrounds = 1\n", encoding="utf-8")
    flags = (*owners[1].flags, "--policy", str(policy), "--audit-log", str(log))
    with local_nodes({"bob": flags}) as (node,):
        yield node, log


def test_a_repeated_training_counts_once_and_the_log_says_that_it_came_from_memory(
    strict: tuple[LocalNode, Path], recipe: Recipe
) -> None:
    node, log = strict

    async def ask(peer: Peer, **changed: Any) -> Any:
        state_id = await send_state(peer, recipe)
        wanted = {**training(recipe, state_id, result_id=8, rounds=2), "run": "one", **changed}
        return await peer.ask(command(TRAIN, **wanted))

    async def session() -> None:
        results = []
        for _ in range(3):
            async with coordinator(node.url) as peer:  # a new connection each time
                assert reply(await ask(peer))["rows"] == 140
                fetched = reply(await peer.ask(pack(ObjectRequestMessage(8, None, ""))))
                results.append(fetched.tolist())
        assert results[1:] == results[:1] * 2
        async with coordinator(node.url) as peer:
            assert "(rule day.rounds)" in error(await ask(peer, round=2)).fact
            # no way around the count: the same request of another run is another training
            assert "(rule day.rounds)" in error(await ask(peer, run="two")).fact

    run(session())
    told = [(line["decision"], line["detail"]) for line in lines_of(log, "train")]
    answered = [detail for decision, detail in told if decision == "allowed"]
    repeated = "round 1 of 2, asked for again: answered from memory"
    assert answered == ["round 1 of 2", repeated, repeated]
    assert [decision for decision, _ in told[-2:]] == ["refused", "refused"]


def test_who_comes_back_to_a_training_that_goes_on_joins_it_and_it_counts_once(
    strict: tuple[LocalNode, Path], slow_recipe: Recipe
) -> None:
    node, log = strict

    async def begin(peer: Peer) -> bytes:
        state_id = await send_state(peer, slow_recipe)
        wanted = {**training(slow_recipe, state_id), "run": "one"}
        request_id = await peer.send(Kind.REQUEST, command(TRAIN, **wanted))
        while (received := await peer.receive()).kind is not Kind.EVENT:
            assert received.kind is not Kind.ERROR, error(received)
        return request_id

    async def session() -> None:
        async with coordinator(node.url) as peer:
            await begin(peer)
            peer.connection.transport.abort()
        async with coordinator(node.url) as peer:
            request_id = await begin(peer)
            await peer.ask(command(CANCEL))
            assert "cancelled" in str(error(await peer.answer_to(request_id)))

    run(session())
    details = [line["detail"] for line in lines_of(log, "train") if line["decision"] == "began"]
    assert details == [
        "round 1 of 1",
        "round 1 of 1, asked for again: the training that goes on",
    ]


# Lines that break again and again


def test_a_coordinator_whose_line_breaks_again_and_again_is_never_turned_away(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    async def session(node: LocalNode) -> None:
        with line_to(node.url) as line:
            urls, timeouts = {"bob": line.url}, Timeouts(quorum_wait=60, rejoin_window=10)
            async with training_goes_on(urls, recipe, timeouts) as watcher:
                for cut in range(1, 2 * MAX_SESSIONS_OF_ONE):
                    rounds = len(watcher.rounds)
                    await until(lambda: len(watcher.rounds) > rounds, "a round")  # noqa: B023
                    line.cut()
                    await until(lambda: line.dialled > cut, "another connection")  # noqa: B023
                await until(lambda: len(watcher.rounds) > rounds + 1, "two more rounds")

    with local_nodes({"bob": owners[1].flags}) as (node,):
        run(session(node))
        assert not [line for line in node.log if "turned away" in line]


def test_who_lost_all_its_places_without_a_goodbye_is_let_in_after_a_heartbeat(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    """Half-open connections, as a cut network leaves them: the node has not heard of the loss."""

    async def session(node: LocalNode) -> None:
        timeouts = Timeouts(heartbeat=0, handshake_timeout=2)
        with line_to(node.url) as line:
            address = NodeAddress("bob", line.url)
            lost = [await dial(address, timeouts=timeouts) for _ in range(MAX_SESSIONS_OF_ONE)]
            line.silent = True

            async def let_in() -> bool:
                try:
                    link = await dial(NodeAddress("bob", node.url))
                except FedsmsError:
                    return False
                await link.close()
                return True

            assert not await let_in()
            async with asyncio.timeout(60):
                while not await let_in():  # noqa: ASYNC110 - each try is an exchange of its own
                    await asyncio.sleep(0.1)
            line.silent = False
            for link in lost:
                await link.close()

    with local_nodes({"bob": (*owners[1].flags, "--heartbeat", "1")}) as (node,):
        run(session(node))


# A peer that is busy, and a node that is


class Thinking(Terminal):
    """An owner who takes time."""

    is_there = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.thought = asyncio.Event()

    async def ask(self, question: str) -> bool:
        self.asked.set()
        await self.thought.wait()
        return False


def test_a_node_that_does_not_read_for_a_while_calls_nobody_silent(recipe: Recipe) -> None:
    """The owner is asked; meanwhile more arrives than may wait, and so it is left unread."""
    shard = Shard((Message(0, "a"), Message(1, "b")), (Message(0, "c"), Message(1, "d")))
    text = {"modes": ["train", "pointers"], "ask": ["pointers"], "recipe": {"parameters": 5000}}

    async def scene() -> None:
        owner = Thinking()
        guard = Guard(Policy.model_validate(text), terminal=owner)
        quick = Timeouts(heartbeat=0.2)
        node = DataOwnerNode("bob", shard, TrainerProcess(shard), guard=guard, timeouts=quick)
        large: Any = torch.zeros(250_000)
        async with (
            listening(node, "127.0.0.1", 0) as url,
            connect(
                url, proxy=None, create_connection=HeardClient, **transport_options()
            ) as connection,
        ):
            peer = Peer(connection)
            await peer.greet()
            asked = command(OPEN_POINTERS, recipe=recipe.to_json(), seed=1)
            question = await peer.send(Kind.REQUEST, asked)
            await owner.asked.wait()
            sending = asyncio.gather(
                *(peer.send(Kind.REQUEST, pack(ObjectMessage(large))) for _ in range(12))
            )
            assert isinstance(connection, HeardClient)
            pings = connection.arrivals + 4 * BEATS
            await until(lambda: connection.arrivals > pings, "four heartbeats")
            owner.thought.set()
            assert isinstance(error(await peer.answer_to(question)), PolicyRefused)
            await sending
            await peer.ask(command(CANCEL))

    run(scene())


def test_a_coordinator_that_asks_too_often_waits_and_others_do_not() -> None:
    now = [0.0]
    pace = Pace(burst=3, rate=2, clock=lambda: now[0])
    assert [pace.wait("a") for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    assert pace.wait("b") == 0
    now[0] = 10.0
    assert [pace.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]


# A rule that says no amid a run


def trained(
    cli: Callable[..., Finished], node_flags: list[str], quick: Path, folder: Path, need: int
) -> tuple[Finished, list[dict[str, Any]]]:
    """A run of two rounds; its rows of metrics for all nodes."""
    flags = (*node_flags, "--recipe", quick, "--min-nodes", need, "--run-dir", folder)
    done = cli("server", "train", *flags)
    (run_folder,) = folder.iterdir()
    rows = (run_folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return done, [row for row in map(json.loads, rows) if row["node"] == "*"]


@pytest.mark.parametrize("need", [1, 2])
def test_a_node_whose_owner_says_no_amid_a_run_is_left_out_and_the_rule_is_named(
    owners: list[OwnerFiles], tmp_path: Path, quick: Path, cli: Callable[..., Finished], need: int
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[day]\nrounds = 1\n", encoding="utf-8")
    nodes = {"anne": owners[0].flags, "bob": (*owners[1].flags, "--policy", str(policy))}
    with local_nodes(nodes) as running:
        flags = [part for node in running for part in ("--node", node.flag)]
        done, rounds = trained(cli, flags, quick, tmp_path / "runs", need)
    assert "(rule day.rounds)" in done.err
    assert "Traceback" not in done.err
    if need == 1:
        assert done.code == 0, done.err
        assert len(rounds) == 2
        assert "(rule day.rounds)" in rounds[1]["left_out"]["bob"]
        assert "anne" not in rounds[1]["left_out"]
    else:
        assert done.code == 10, done.err
        assert len(rounds) == 1
        assert done.err.count("error: ") == 1
        assert "change policy.toml" in done.err


def test_a_coordinator_that_is_refused_amid_its_requests_keeps_its_session(
    strict: tuple[LocalNode, Path], recipe: Recipe
) -> None:
    """A refusal is an answer: what the session holds stays, and what is allowed goes on."""
    node, _ = strict

    async def session() -> None:
        async with coordinator(node.url) as peer:
            state_id = await send_state(peer, recipe)
            for number in (1, 2):
                answer = await peer.ask(command(TRAIN, **training(recipe, state_id, rounds=number)))
                assert (answer.kind is Kind.REPLY) is (number == 1)
            wanted = {"state_id": state_id, "base_id": None, "recipe": recipe.to_json()}
            assert sum(reply(await peer.ask(command("evaluate", **wanted)))["ham"].values()) > 0

    try:
        run(session())
    except ConnectionClosed as closed:
        pytest.fail(f"the session ended: {closed}")
