"""A node that scores many held-out rows says how far it is, where that tells nothing new."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.local.many_nodes import nodes_of
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.wire.commands import Progress
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.identities import Federation, make_federation
from tests.helpers.messages import made_up
from tests.helpers.secure_rounds import shards
from worker_node.data.shard import Shard
from worker_node.training import local_training
from worker_node.training.local_training import logits

pytestmark = pytest.mark.timeout(240)
OWNERS = ["anne", "bob", "carol"]
MANY = local_training._ENCODED_AT_ONCE + 1


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


def with_many_held_out() -> dict[str, Shard]:
    """Owners whose held-out rows are more than are scored together; bob's are not."""
    rows = made_up(50, seed=9)
    many = tuple(rows[place % 50] for place in range(MANY))
    found = shards(OWNERS)
    return {name: replace(found[name], held_out=many) if name != "bob" else found[name]
            for name in OWNERS}  # fmt: skip


def seen_in_a_run(
    recipe: Recipe, identities: dict[str, Path] | None, coordinator: Path | None
) -> list[tuple[str, Progress]]:
    seen: list[tuple[str, Progress]] = []

    def look(number: int, node: str, stage: str, progress: Progress | None) -> None:
        if stage == "evaluating" and progress is not None:
            seen.append((node, progress))

    async def go() -> None:
        async with nodes_of(with_many_held_out(), identities) as served:
            urls = {name: one.url for name, one in served.items()}
            watcher = Watcher(on_stage=look)
            if coordinator is None:
                await trained(urls, of_rounds(recipe, 2), watcher)
                return
            from tests.helpers.secure_rounds import Federated

            secure = Federated(served, coordinator, of_rounds(recipe, 2))
            await secure.trained(watcher)
            assert [record.metrics.rows for record in watcher.rounds] == [2 * MANY + 10] * 2

    asyncio.run(go())
    return seen


def test_the_coordinator_hears_percent_of_those_who_have_many(recipe: Recipe) -> None:
    seen = seen_in_a_run(recipe, None, None)
    assert {node for node, _ in seen} == {"anne", "carol"}
    for _, progress in seen:
        assert progress.loss is None
        assert progress.total == 100
        assert 0 < progress.done < 100


def test_nothing_is_said_where_counts_leave_in_a_secure_sum(
    federation: Federation, recipe: Recipe
) -> None:
    """In steps of some thousand, percent say how many held-out rows there are."""
    coordinator = federation.coordinator()
    identities = {name: federation.node(name) for name in OWNERS}
    assert seen_in_a_run(recipe, identities, coordinator) == []


def test_progress_is_told_after_the_first_rows_and_never_at_the_end(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_training, "_ENCODED_AT_ONCE", 4)
    state, tokens = initial_state(recipe, 1), np.ones((12, recipe.text.width), np.int32)
    for seconds, expected in ((-1.0, [(4, 12), (8, 12)]), (1e9, [(4, 12)])):
        told: list[tuple[int, int]] = []
        monkeypatch.setattr(local_training, "PROGRESS_SECONDS", seconds)
        logits(state, tokens, recipe, lambda done, total, told=told: told.append((done, total)))  # type: ignore[misc]
        assert told == expected
    logits(state, tokens[:4], recipe, lambda *_: pytest.fail("there is but one step"))
