"""Aggregation rules and their settings as a coordinator runs them, against plain arithmetic."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
import torch

from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import TRAIN
from tests.helpers.false_nodes import TRAINED, Answers, pack
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.peers import false_node

pytestmark = pytest.mark.timeout(120)

MOVES = {"anne": 0.01, "bob": 0.02, "carol": 0.03, "dora": 0.04, "erin": 5.0}
"""By how much each node's training moves every number; the last is out of line."""


def by_rule(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    tables = of_rounds(recipe, 1).model_dump()
    tables["federation"] |= settings
    return Recipe.model_validate(tables)


def run_of(recipe: Recipe, rows: dict[str, int]) -> tuple[Vector, Watcher]:
    watcher = Watcher()
    state = initial_state(recipe, 1)

    async def session() -> Vector:
        async with AsyncExitStack() as stack:
            urls = {}
            for node, move in MOVES.items():
                told = pack({**TRAINED, "rows": rows[node]})
                result = pack(torch.from_numpy(state + np.float32(move)))
                answers = Answers(recipe, object=result, **{TRAIN: told})
                greeted = {"train": rows[node], "held_out": 5}
                urls[node] = await stack.enter_async_context(false_node(answers, node, greeted))
            return await trained(urls, recipe, watcher)

    return asyncio.run(session()), watcher


ALIKE = dict.fromkeys(MOVES, 10)
UNLIKE = dict(zip(MOVES, (10, 20, 30, 40, 50), strict=True))


@pytest.mark.parametrize(
    ("settings", "rows", "moved"),
    [
        ({}, ALIKE, 1.02),  # (0.01 + 0.02 + 0.03 + 0.04 + 5) / 5
        ({}, UNLIKE, 253 / 150),  # 0.1 + 0.4 + 0.9 + 1.6 + 250, of 150 rows
        # 50 rows count for as much as twice the upper median of the others', 30; 40 too
        ({"rows_bound": 1.0}, UNLIKE, (0.1 + 0.4 + 0.9 + 0.04 * 30 + 5 * 30) / 120),
        ({"aggregation": "median"}, UNLIKE, 0.03),
        ({"aggregation": "trimmed-mean"}, UNLIKE, 0.03),  # of 0.02, 0.03 and 0.04
        ({"aggregation": "trimmed-mean", "trim": 0.19}, UNLIKE, 1.02),  # cuts nobody of five
        ({"aggregation": "trimmed-mean", "trim": 0.4}, UNLIKE, 0.03),  # of the one in the middle
        # the median norm is that of 0.03, so that 5 is shortened to twice that
        ({"aggregation": "norm-clip"}, ALIKE, 0.032),
        ({"aggregation": "norm-clip"}, UNLIKE, (0.1 + 0.4 + 0.9 + 1.6 + 0.06 * 50) / 150),
        ({"aggregation": "norm-clip", "norm_bound": 1.0}, ALIKE, 0.024),
        ({"aggregation": "norm-refuse"}, ALIKE, 0.025),
        ({"aggregation": "norm-refuse"}, UNLIKE, 0.03),
        ({"aggregation": "norm-refuse", "norm_bound": 200.0}, ALIKE, 1.02),
        ({"server_optimizer": "fedavgm", "server_learning_rate": 0.5}, ALIKE, 0.51),
    ],
)
def test_a_round_ends_where_its_rule_says(
    recipe: Recipe, settings: dict[str, Any], rows: dict[str, int], moved: float
) -> None:
    recipe = by_rule(recipe, settings)
    state, watcher = run_of(recipe, rows)
    np.testing.assert_allclose(state - initial_state(recipe, 1), moved, rtol=2e-3, atol=2e-6)
    (record,) = watcher.rounds
    is_refused = settings.get("aggregation") == "norm-refuse" and "norm_bound" not in settings
    assert set(record.without) == ({"erin"} if is_refused else set())
