"""Rounds with nodes whose owner's policy says no: they cost little, and name their rule."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from server.nodes import members
from server.rounds.cohort import MinNodes
from shared.errors import PolicyRefused
from shared.model.recipe import Recipe
from shared.wire.commands import EVALUATE, TRAIN
from tests.helpers.false_nodes import Answers, Counting, says_no
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.peers import false_node

pytestmark = pytest.mark.timeout(60)
ROUNDS = 6


def rounds_with(recipe: Recipe, need: int = 1, **nodes: Answers) -> Watcher:
    watcher = Watcher()

    async def session() -> None:
        async with AsyncExitStack() as stack:
            urls = {
                name: await stack.enter_async_context(false_node(answers, name))
                for name, answers in nodes.items()
            }
            wanted = of_rounds(recipe, ROUNDS)
            await trained(urls, wanted, watcher, min_nodes=MinNodes(count=need))

    asyncio.run(session())
    return watcher


def told_of_hours(watcher: Watcher) -> list[int]:
    """In which rounds the progress named the rule; each reason is told once."""
    return [number for number, _, text in watcher.notices if "(rule hours): it is night" in text]


def test_a_node_that_may_not_train_is_named_each_round_and_asked_once_in_a_while(
    recipe: Recipe,
) -> None:
    mallory = Counting(recipe, **{TRAIN: says_no})
    watcher = rounds_with(recipe, anne=Counting(recipe), mallory=mallory)
    assert [list(record.left_out) for record in watcher.rounds] == [["mallory"]] * ROUNDS
    assert all("(rule hours): it is night" in why for why in watcher.reasons("mallory"))
    assert told_of_hours(watcher) == [1]
    assert (mallory.asked["state"], mallory.asked[TRAIN]) == (1, 1)
    assert len(mallory.connections) == 1


def test_it_is_asked_again_over_the_same_connection_when_it_has_rested(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "POLICY_REST", 0.0)
    mallory = Counting(recipe, **{TRAIN: says_no})
    watcher = rounds_with(recipe, anne=Counting(recipe), mallory=mallory)
    assert mallory.asked[TRAIN] == ROUNDS
    assert told_of_hours(watcher) == [1]
    assert len(mallory.connections) == 1


def test_a_node_that_may_train_and_not_evaluate_takes_part_in_every_round(recipe: Recipe) -> None:
    mallory = Counting(recipe, **{EVALUATE: says_no})
    watcher = rounds_with(recipe, anne=Counting(recipe), mallory=mallory)
    assert [record.left_out for record in watcher.rounds] == [{}] * ROUNDS
    told = [node.left_out for record in watcher.rounds for node in record.nodes]
    assert sum("not evaluated" in why and "(rule hours)" in why for why in told) == ROUNDS
    assert told_of_hours(watcher) == [1]
    assert len(mallory.connections) == 1


def test_too_few_who_may_train_end_the_run_with_the_rule_and_without_waiting(
    recipe: Recipe,
) -> None:
    mallory = Counting(recipe, **{TRAIN: says_no})
    with pytest.raises(PolicyRefused, match="rule hours") as caught:
        rounds_with(recipe, need=2, anne=Counting(recipe), mallory=mallory)
    assert caught.value.exit_code == 10
    assert "mallory" in caught.value.fact
    assert mallory.asked[TRAIN] == 1
