"""A node that claims: rows that it does not have, seconds that nobody waited, losses of nothing.

Over real sockets, against a coordinator that does whole rounds with honest nodes beside the false
one. Nobody can count a node's rows but its owner; what is tested is how far the claim reaches.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest
import torch

from server.aggregation.aggregators import mean_of
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from shared.errors import HandshakeRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Aggregation, Recipe
from shared.model.vectors import Vector
from shared.wire.commands import EVALUATE, TRAIN
from shared.wire.frames import Frame, Kind, frame
from tests.helpers.false_nodes import EVALUATED, TRAINED, Answers, pack
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.peers import false_node

pytestmark = pytest.mark.timeout(60)
CLAIM = 500_000_000
GOOD = {"ham": {7: 3}, "spam": {2000: 2}}
"""All spam scored above all ham."""


def by_rule(recipe: Recipe, rule: Aggregation = "fedavg", rows_bound: float = 10.0) -> Recipe:
    tables = of_rounds(recipe, 1).model_dump()
    tables["federation"] |= {"aggregation": rule, "rows_bound": rows_bound}
    return Recipe.model_validate(tables)


def moved(recipe: Recipe, by: float) -> Vector:
    return initial_state(recipe, 1) + np.float32(by)


def answers(
    recipe: Recipe, by: float, rows: int = 10, evaluated: dict[str, Any] | None = None
) -> Answers:
    """Those of a node whose training moves each number of the model `by` so much."""
    told = {
        TRAIN: pack({**TRAINED, "rows": rows}),
        EVALUATE: pack({**EVALUATED, **(evaluated or {})}),
    }
    return Answers(recipe, object=pack(torch.from_numpy(moved(recipe, by))), **told)


Nodes = dict[str, tuple[Answers, dict[str, int]]]
"""By id: what a node answers, and the rows that it greets with."""


@asynccontextmanager
async def federation(nodes: Nodes) -> AsyncIterator[dict[str, str]]:
    """False nodes that greet with these rows; gives their URLs."""
    async with AsyncExitStack() as stack:
        yield {
            node: await stack.enter_async_context(false_node(answer, node, rows))
            for node, (answer, rows) in nodes.items()
        }


def train(recipe: Recipe, nodes: Nodes, watcher: Watcher) -> Vector:
    async def session() -> Vector:
        async with federation(nodes) as urls:
            return await trained(urls, recipe, watcher)

    return asyncio.run(session())


def rows(train: int = 10, held_out: int = 5) -> dict[str, int]:
    return {"train": train, "held_out": held_out}


@pytest.mark.parametrize("rule", ["fedavg", "norm-clip", "norm-refuse"])
def test_a_claim_of_rows_does_not_make_a_node_the_model(recipe: Recipe, rule: Aggregation) -> None:
    recipe, watcher = by_rule(recipe, rule), Watcher()
    nodes = {
        "anne": (answers(recipe, 0.01), rows()),
        "bob": (answers(recipe, 0.01), rows()),
        "mallory": (answers(recipe, -0.01, CLAIM), rows(CLAIM)),
    }
    state = train(recipe, nodes, watcher)
    parts = [(moved(recipe, 0.01), 10), (moved(recipe, 0.01), 10), (moved(recipe, -0.01), 100)]
    assert np.array_equal(state, mean_of(parts, state.size))
    told = {row["node"]: row for row in watcher.rounds[0].rows()}
    assert {node: row["rows"] for node, row in told.items()}["mallory"] == CLAIM
    assert {node: row["rows_counted"] for node, row in told.items()} == {
        "anne": 10,
        "bob": 10,
        "mallory": 100,
        "*": 120,
    }


def test_the_progress_names_who_claimed_how_much_and_what_it_counts_for(recipe: Recipe) -> None:
    recipe, watcher = by_rule(recipe), Watcher()
    nodes = {
        "anne": (answers(recipe, 0.01, 2000), rows(2000)),
        "mallory": (answers(recipe, -0.01, CLAIM), rows(CLAIM)),
    }
    state = train(recipe, nodes, watcher)
    parts = [(moved(recipe, 0.01), 2000), (moved(recipe, -0.01), 20_000)]
    assert np.array_equal(state, mean_of(parts, state.size))
    ((number, node, text),) = watcher.notices
    assert (number, node) == (1, "mallory")
    assert text.startswith("claims 500,000,000 rows and counts for 20,000, which is 10 times")


def test_a_claim_does_not_make_a_nodes_loss_the_rounds(recipe: Recipe) -> None:
    recipe, watcher = by_rule(recipe), Watcher()
    report = {**TRAINED, "rows": CLAIM, "loss": 12.0}
    bad = Answers(recipe, train=pack(report))
    train(recipe, {"anne": (answers(recipe, 0), rows()), "mallory": (bad, rows(CLAIM))}, watcher)
    assert watcher.rounds[0].loss == pytest.approx((0.5 * 10 + 12.0 * 100) / 110)


def test_who_comes_first_changes_no_bit(recipe: Recipe) -> None:
    """Results are added as they come; what they count for is known before."""
    recipe = by_rule(recipe)
    moves = {"anne": 0.01, "bob": 0.02, "mallory": -0.01}
    claims = {"anne": 10, "bob": 40, "mallory": CLAIM}
    found = set()
    for order in itertools.permutations(moves):
        asked = {node: asyncio.Event() for node in order}

        def late(node: str, before: str | None, asked: dict[str, asyncio.Event]) -> Any:
            async def answer(connection: Any, request: Frame) -> None:
                if before is not None:
                    await asked[before].wait()
                payload = pack({**TRAINED, "rows": claims[node]})
                await connection.send(frame(Kind.REPLY, request.request_id, payload))
                asked[node].set()

            return answer

        nodes = {}
        for before, node in zip([None, *order], order, strict=False):
            state = pack(torch.from_numpy(moved(recipe, moves[node])))
            given = Answers(recipe, object=state, train=late(node, before, asked))
            nodes[node] = (given, rows(claims[node]))
        found.add(train(recipe, dict(sorted(nodes.items())), Watcher()).tobytes())
    assert len(found) == 1


def test_a_claim_of_held_out_rows_does_not_make_the_overall_figures(recipe: Recipe) -> None:
    recipe, watcher = by_rule(recipe), Watcher()
    upside_down = {"ham": {2040: CLAIM // 2}, "spam": {3: CLAIM // 2}}
    nodes = {
        "anne": (answers(recipe, 0.01, evaluated=GOOD), rows()),
        "bob": (answers(recipe, 0.01, evaluated=GOOD), rows()),
        "mallory": (answers(recipe, 0.01, evaluated=upside_down), rows(held_out=CLAIM)),
    }
    train(recipe, nodes, watcher)
    record = watcher.rounds[0]
    assert record.metrics.rows == 60
    # 6 ham and 4 spam in order, 25 and 25 upside down: spam of anne is above the ham of mallory
    # nowhere, and the spam of mallory above no ham at all.
    assert record.metrics.roc_auc == pytest.approx(6 * 4 / (31 * 29))
    each = {node.node: node.metrics for node in record.nodes if node.metrics}
    assert (each["anne"].roc_auc, each["mallory"].roc_auc) == (1.0, 0.0)
    assert each["mallory"].rows == CLAIM
    told = {row["node"]: row["held_out_rows_counted"] for row in record.rows()}
    assert told == {"anne": 5, "bob": 5, "mallory": 50, "*": 60}
    words = "claims 500,000,000 held-out rows and counts for 50"
    assert [node for _, node, text in watcher.notices if words in text] == ["mallory"]


def test_without_a_bound_the_overall_figures_still_do_not_overflow(recipe: Recipe) -> None:
    recipe, watcher = by_rule(recipe, rows_bound=0), Watcher()
    claimed = {"ham": {5: CLAIM // 2}, "spam": {2040: CLAIM // 2}}
    nodes = {
        f"mallory-{number}": (answers(recipe, 0, evaluated=claimed), rows(held_out=CLAIM))
        for number in range(20)
    }
    train(recipe, nodes, watcher)
    assert watcher.rounds[0].metrics.roc_auc == 1.0
    assert watcher.rounds[0].metrics.rows == 20 * CLAIM


@pytest.mark.parametrize("told", [rows(2_000_000_000), rows(held_out=2_000_000_000)])
def test_a_greeting_with_more_rows_than_there_can_be_is_refused(
    recipe: Recipe, told: dict[str, int]
) -> None:
    async def session() -> None:
        async with federation({"mallory": (Answers(recipe), told)}) as urls:
            link = await dial(NodeAddress("mallory", urls["mallory"]))
            await link.close()

    with pytest.raises(HandshakeRefused, match="mallory") as caught:
        asyncio.run(session())
    assert "536870911" in caught.value.cause
    assert "rows" in caught.value.cause


LIES = {
    "hours that nobody waited": (TRAIN, {**TRAINED, "seconds_training": 7200.0}, "seconds"),
    "a wait that nobody waited": (TRAIN, {**TRAINED, "seconds_waiting": 7200.0}, "seconds"),
    "hours of evaluation": (EVALUATE, {**EVALUATED, "seconds_evaluating": 7200.0}, "seconds"),
    "seconds below zero": (TRAIN, {**TRAINED, "seconds_training": -1.0}, "seconds_training"),
    "a loss below zero": (TRAIN, {**TRAINED, "loss": -0.5}, "loss"),
    "a sum of losses below zero": (EVALUATE, {**EVALUATED, "loss_sum": -0.5}, "loss_sum"),
    "fewer scores than rows": (EVALUATE, {**EVALUATED, "ham": {7: 2}}, "impossible counts"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_node_that_tells_what_cannot_be_is_left_out_by_name(recipe: Recipe, name: str) -> None:
    asked, lie, reason = LIES[name]
    watcher = Watcher()
    bad = Answers(recipe, **{asked: pack(lie)})
    nodes = {"anne": (answers(recipe, 0), rows()), "mallory": (bad, rows())}
    train(by_rule(recipe), nodes, watcher)
    (why,) = watcher.rounds[0].without.values()
    assert "mallory" in why
    assert reason in why
    assert all(0 <= node.seconds_training < 60 for node in watcher.rounds[0].nodes)


def test_a_loss_of_no_rows_is_left_out_by_name(recipe: Recipe) -> None:
    watcher = Watcher()
    bad = answers(recipe, 0, evaluated={"ham": {}, "spam": {}, "loss_sum": 1e12})
    nodes = {"anne": (answers(recipe, 0), rows()), "mallory": (bad, rows(held_out=0))}
    train(by_rule(recipe), nodes, watcher)
    assert "impossible loss" in watcher.rounds[0].without["mallory"]
    assert watcher.rounds[0].metrics.loss == pytest.approx(0.2)


def test_after_a_resume_a_node_may_tell_of_a_training_that_was_before(recipe: Recipe) -> None:
    """It answers the round that was cut off from its memory, with the seconds that it took then."""
    recipe, watcher = of_rounds(recipe, 2), Watcher()
    remembered = iter([7200.0, 0.1])

    async def answer(connection: Any, request: Frame) -> None:
        payload = pack({**TRAINED, "seconds_training": next(remembered)})
        await connection.send(frame(Kind.REPLY, request.request_id, payload))

    async def session() -> None:
        nodes = {"anne": (Answers(recipe, train=answer), rows())}
        async with federation(nodes) as urls:
            links = {"anne": await dial(NodeAddress("anne", urls["anne"]))}
            plan = Plan(1, "a-test", resumed=True)
            coordinator = Coordinator(Members.standing(links), recipe, plan, [watcher])
            await coordinator.run(initial_state(recipe, 1))
            await links["anne"].close()

    asyncio.run(session())
    assert [list(record.left_out) for record in watcher.rounds] == [[], []]
    first = watcher.rounds[0].nodes[0]
    assert 0 <= first.seconds_training <= watcher.rounds[0].seconds
