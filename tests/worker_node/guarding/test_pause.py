"""The owner's pause: nothing of the rows leaves while it lasts, and a run goes on after it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.nodes import members
from shared.errors import PAUSE, PolicyRefused
from shared.model.recipe import Recipe
from shared.pysyft import ForceObjectDeleteMessage, ObjectRequestMessage
from shared.wire.commands import COUNTERSIGN, EVALUATE, PROPOSE, SUM_KEYS, TRAIN
from shared.wire.frames import Frame, Kind, unpack_error, unpack_map
from tests.conftest import OwnerFiles
from tests.helpers.federating import training as training_goes_on
from tests.helpers.federating import until
from tests.helpers.node_requests import command, error, pack, reply, run, send_state, training
from tests.helpers.peers import coordinator, stranger
from tests.worker_node.sessions.test_answers import parts, request_id
from worker_node.data.shard import Shard
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding, opened
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def serving(
    owner: OwnerFiles, folder: Path, **policy: Any
) -> AsyncIterator[tuple[DataOwnerNode, str]]:
    """A node of this process with a real trainer, and its URL; its log is in the folder."""
    shard = Shard(tuple(owner.train), tuple(owner.held_out))
    found = Guarding(Policy.model_validate(policy), audit_log=folder / f"{owner.id}.jsonl")
    trainer = TrainerProcess(shard)
    try:
        async with opened(found, owner.id, shard) as guard:
            node = DataOwnerNode(owner.id, shard, trainer, guard=guard)
            async with listening(node, "127.0.0.1", 0) as url:
                yield node, url
    finally:
        await trainer.close()


def is_paused(answer: Frame) -> bool:
    found = error(answer)
    return isinstance(found, PolicyRefused) and found.rule == PAUSE


def test_in_a_pause_nothing_of_the_rows_leaves_and_after_it_all_does(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with serving(owners[1], tmp_path) as (node, url), coordinator(url) as peer:
            state_id = await send_state(peer, recipe)
            wanted = training(recipe, state_id, result_id=8)
            assert reply(await peer.ask(command(TRAIN, **wanted)))["rows"] == 140
            fetch = pack(ObjectRequestMessage(8, None, ""))
            measured = {"state_id": state_id, "recipe": recipe.to_json(), "base_id": None}
            await node.pause()
            for request in (
                fetch,
                command(TRAIN, **wanted),  # it is remembered, and not told
                command(TRAIN, **training(recipe, state_id)),
                command(EVALUATE, **measured),
                *(command(name) for name in (PROPOSE, SUM_KEYS, COUNTERSIGN, "no such command")),
            ):
                assert is_paused(await peer.ask(request))
            # what says nothing but "done" is done: a coordinator may tidy up
            other = await send_state(peer, recipe)
            assert (await peer.ask(pack(ForceObjectDeleteMessage(other)))).kind is Kind.REPLY
            async with stranger(url) as late:
                refusal = await late.greet()
                assert refusal.kind is Kind.REFUSED
                told = unpack_map(refusal.payload)
                assert set(told) == {"error"}  # no counts
                assert getattr(unpack_error(told["error"]), "rule", "") == PAUSE
            await node.go_on()
            assert reply(await peer.ask(fetch)).numel() > 1000
            assert reply(await peer.ask(command(EVALUATE, **measured)))["ham"]

    run(scene())
    lines = [json.loads(line) for line in (tmp_path / "bob.jsonl").read_text().splitlines()]
    what = [line["what"] for line in lines]
    begin, end = what.index("pause"), what.index("go on")
    within = [one for one in lines[begin + 1 : end] if one["what"] not in ("keep", "delete")]
    assert len(within) == 9
    assert {one["decision"] for one in within} == {"refused"}
    assert all(f"(rule {PAUSE})" in one["detail"] for one in within)


def test_what_is_under_way_ends_and_the_trainer_is_free(
    owners: list[OwnerFiles], recipe: Recipe, slow_recipe: Recipe, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with serving(owners[1], tmp_path) as (node, url), coordinator(url) as peer:
            state_id = await send_state(peer, slow_recipe)
            asked = await peer.send(Kind.REQUEST, command(TRAIN, **training(slow_recipe, state_id)))
            assert (await peer.receive()).kind is Kind.EVENT
            await node.pause()
            assert is_paused(await peer.answer_to(asked))
            await until(lambda: not node.busy_with, "the trainer to be free")
            await node.go_on()
            state_id = await send_state(peer, recipe)
            trained = await peer.ask(command(TRAIN, **training(recipe, state_id)))
            assert reply(trained)["rows"] == 140

    run(scene())


def test_a_yes_that_comes_in_a_pause_begins_nothing(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path
) -> None:
    async def scene() -> None:
        served = serving(owners[1], tmp_path, ask=["evaluate"])
        async with served as (node, url), coordinator(url) as peer:
            node.guard.owner.has_page = True
            state_id = await send_state(peer, recipe)
            measured = command(EVALUATE, state_id=state_id, recipe=recipe.to_json(), base_id=None)
            asked = await peer.send(Kind.REQUEST, measured)
            await until(lambda: bool(node.guard.owner.waiting), "the question")
            await node.pause()
            assert node.guard.owner.answer(1, True)
            assert is_paused(await peer.answer_to(asked))
            assert node.guard.today()["evaluations"][0] == 0

    run(scene())


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.EVENT, Kind.HELLO])
def test_an_answer_that_is_made_when_the_pause_comes_stays_here(kind: Kind) -> None:
    async def scene() -> None:
        happened, _, answers = parts()
        answers._guard.pause.begin()
        await answers.send(answers.request(request_id(1), "train"), kind, b"the model")
        left = [frame for what, frame in happened if what == "leaves"]
        assert not any(b"the model" in bytes(frame.payload) for frame in left)
        assert [frame.kind for frame in left] == [] if kind is Kind.EVENT else [Kind.ERROR]

    asyncio.run(scene())


ENDLESS = {"recipe": {"rounds": 100_000}, "day": {"rounds": 10**6, "evaluations": 10**6}}


def test_a_run_goes_on_without_a_node_that_is_paused_and_takes_it_in_again(
    owners: list[OwnerFiles], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "POLICY_REST", 0.2)

    async def scene() -> None:
        async with (
            serving(owners[0], tmp_path, **ENDLESS) as (_, anne),
            serving(owners[1], tmp_path, **ENDLESS) as (node, bob),
            training_goes_on({"anne": anne, "bob": bob}, recipe, node.timeouts) as watcher,
        ):

            def took_part(there: bool) -> bool:
                last = watcher.rounds[-1:]
                return bool(last) and ("bob" in {one.node for one in last[0].nodes}) is there

            await until(lambda: took_part(True), "a round of both")
            await node.pause()
            await until(lambda: took_part(False), "a round without bob")
            why = str(watcher.rounds[-1].left_out["bob"])
            assert "has paused it" in why
            assert "policy.toml" not in why  # which would change nothing
            await node.go_on()
            await until(lambda: took_part(True), "a round of both again")
        # never out: its connection stood all the time
        assert not any(text == "is back" for _, _, text in watcher.notices)

    run(scene())
