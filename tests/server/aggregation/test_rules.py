"""The registry of rules, that no rule's bits have changed, and a rule of somebody else's."""

from __future__ import annotations

import asyncio
from typing import get_args

import numpy as np
import pytest

from server.aggregation.aggregators import Aggregate
from server.aggregation.rules import RULES, make_aggregator
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.cohort import MinNodes
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from shared.errors import FedsmsError
from shared.model.classifier import initial_state
from shared.model.recipe import Aggregation, FederationRecipe, Recipe
from shared.model.vectors import Vector
from tests.helpers.false_nodes import Answers
from tests.helpers.federating import Watcher
from tests.helpers.peers import false_node

BASE = np.array([0.5, -1, 2, 0, 3, -0.25], np.float32)
UPDATES = [
    [0.1, 0.2, -0.1, 0, 0.3, 0.05],
    [0.12, 0.1, -0.2, 0.1, 0.2, 0],
    [-9, 8, 7, -6, 5, 4],
    [0.05, 0.15, -0.05, 0.02, 0.1, 0.01],
    [0.2, 0.1, 0, -0.1, 0.1, 0.3],
]
ROWS = [60, 140, 500, 7, 33]

# What the rules gave when all of them were one class, as the bytes of float32.
GIVEN: dict[Aggregation, str] = {
    "fedavg": "e04eb1c010498e40afddd540cf4281c03045ce403e181e40",
    "norm-clip": "dadd803e35d933bffd630b40bef435be1c954e40107fd5bd",
    "norm-refuse": "bcbb1f3f6da05fbf14aeed3faf00393d55554d404da948be",
    "trimmed-mean": "3e0a173f9a9959bf9a99f93f0e74dabccdcc4c40b81e05be",
    "median": "9a99193f9a9959bf9a99f93f00000000cdcc4c40cdcc4cbe",
}


def test_each_name_that_a_recipe_may_use_has_its_rule() -> None:
    assert set(RULES) == set(get_args(Aggregation))


@pytest.mark.parametrize("rule", GIVEN)
def test_no_bit_of_a_rule_has_changed(rule: Aggregation) -> None:
    aggregator = make_aggregator(FederationRecipe(aggregation=rule), BASE)
    for number, (update, rows) in enumerate(zip(UPDATES, ROWS, strict=True)):
        aggregator.add(f"n{number}", BASE + np.array(update, np.float32), rows)
    assert aggregator.finish().state.tobytes().hex() == GIVEN[rule]


class Largest:
    """A rule that somebody brings: the result of whoever has the most rows."""

    def __init__(self, base: Vector) -> None:
        self.calls = [f"made for {base.size}"]
        self._results: dict[str, tuple[int, Vector]] = {}

    def add(self, node: str, state: Vector, rows: int) -> None:
        self.calls.append(f"add {node} {rows}")
        if node == "mallory":
            raise ValueError("a result that this rule does not like")
        self._results[node] = (rows, state)

    def finish(self) -> Aggregate:
        self.calls.append("finish")
        node, (_, state) = max(self._results.items(), key=lambda item: (item[1][0], item[0]))
        return Aggregate(state + 1, {"anne": "another had more rows"} if node != "anne" else {})


class Doubles(Largest):
    def finish(self) -> Aggregate:
        return Aggregate(super().finish().state.astype(np.float64))


def run_with(rule: type[Largest], recipe: Recipe) -> tuple[list[Largest], Watcher, Vector]:
    """Two good nodes and one whose results the rule refuses, over sockets."""
    made: list[Largest] = []
    watcher = Watcher()

    def make(base: Vector) -> Largest:
        made.append(rule(base))
        return made[-1]

    async def session() -> Vector:
        async with (
            false_node(Answers(recipe), "anne") as one,
            false_node(Answers(recipe), "bob") as other,
            false_node(Answers(recipe), "mallory") as third,
        ):
            urls = {"anne": one, "bob": other, "mallory": third}
            links = {node: await dial(NodeAddress(node, url)) for node, url in urls.items()}
            try:
                plan = Plan(1, "a-test", MinNodes(count=1))
                members = Members.standing(links)
                coordinator = Coordinator(members, recipe, plan, [watcher], make)
                return await coordinator.run(initial_state(recipe, 1))
            finally:
                for link in links.values():
                    await link.close()

    return made, watcher, asyncio.run(session())


def test_a_coordinator_takes_a_rule_of_somebody_elses(recipe: Recipe) -> None:
    made, watcher, state = run_with(Largest, recipe)
    assert len(made) == recipe.federation.rounds
    first, *added, last = made[0].calls
    assert first == f"made for {recipe.parameters}"
    assert sorted(added) == ["add anne 10", "add bob 10", "add mallory 10"]
    assert last == "finish"
    without = watcher.rounds[0].without
    assert without["anne"] == "another had more rows"
    assert "a result that this rule does not like" in without["mallory"]
    assert np.array_equal(state, initial_state(recipe, 1) + 1)


def test_a_rule_that_gives_no_state_ends_the_run_with_a_word_on_it(recipe: Recipe) -> None:
    with pytest.raises(FedsmsError, match="no state of the model") as caught:
        run_with(Doubles, recipe)
    assert "float64" in caught.value.cause
