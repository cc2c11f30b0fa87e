"""Rounds whose model is not measured: fewer figures, and the same weights."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.local.many_nodes import nodes_of
from scripts.local.nodes import LocalNode
from server.federation.run import Run
from server.rounds.plan import Plan
from server.rounds.records import round_from_rows
from server.rounds.summed import measures
from server.runs.report import run_data
from shared.model.recipe import Recipe, load_recipe
from shared.model.vectors import Vector
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.identities import Federation, make_federation
from tests.helpers.running import run
from tests.helpers.secure_rounds import federated, shards
from worker_node.guarding.policy import Policy

pytestmark = pytest.mark.timeout(240)
OWNERS = ["anne", "bob", "carol"]
PRIVATE = of_rounds(load_recipe("private"), 4)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


def measured(watcher: Watcher) -> list[int]:
    return [record.number for record in watcher.rounds if record.metrics.rows]


@pytest.mark.parametrize(
    ("every", "rounds", "expected"),
    [(None, 3, [1, 2, 3]), (1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 4, [4])],
)
def test_every_so_many_rounds_and_the_last_one_are_measured(
    every: int | None, rounds: int, expected: list[int], recipe: Recipe
) -> None:
    planned = Plan(seed=1, run="a", evaluate_every=every)
    told = [n for n in range(1, rounds + 1) if measures(of_rounds(recipe, rounds), planned, n)]
    assert told == expected


def test_a_private_run_measures_its_last_round_alone_unless_somebody_says_otherwise() -> None:
    def told(every: int | None) -> list[int]:
        planned = Plan(seed=1, run="a", evaluate_every=every)
        return [number for number in range(1, 5) if measures(PRIVATE, planned, number)]

    assert (told(None), told(2), told(3)) == ([4], [2, 4], [3, 4])


def test_the_weights_of_a_plain_run_are_the_same(nodes: list[LocalNode], recipe: Recipe) -> None:
    urls = {node.id: node.url for node in nodes}

    def of(**plan: Any) -> tuple[Vector, Watcher]:
        watcher = Watcher()
        return asyncio.run(trained(urls, of_rounds(recipe, 5), watcher, **plan)), watcher

    (each, every_round), (some, every_second) = of(), of(evaluate_every=2)
    assert each.tobytes() == some.tobytes()
    assert (measured(every_round), measured(every_second)) == ([1, 2, 3, 4, 5], [2, 4, 5])
    assert every_round.rounds[-1].metrics == every_second.rounds[-1].metrics
    for record in every_second.rounds:
        assert round_from_rows(record.rows(), record.rounds) == record
        assert all(node.rows and node.loss for node in record.nodes)


def test_so_are_those_of_secure_sums(federation: Federation, recipe: Recipe) -> None:
    async def go() -> list[tuple[Vector, Watcher]]:
        found = []
        async with federated(federation, OWNERS, of_rounds(recipe, 4)) as scene:
            for every in (None, 3):
                scene.run, watcher = f"every-{every}", Watcher()
                found.append((await scene.trained(watcher, evaluate_every=every), watcher))
        return found

    (each, every_round), (some, every_third) = asyncio.run(go())
    assert each.tobytes() == some.tobytes()
    assert (measured(every_round), measured(every_third)) == ([1, 2, 3, 4], [3, 4])
    assert not every_third.notices


@pytest.mark.parametrize("secure", [False, True])
def test_a_held_out_budget_that_is_spent_ends_no_private_run(
    federation: Federation, secure: bool
) -> None:
    terms = {"differential_privacy": {"epsilon": 8.0, "held_out_epsilon": 2.0}}
    policies = dict.fromkeys(OWNERS, Policy.model_validate(terms))
    watcher = Watcher()

    async def go() -> None:
        if secure:
            async with federated(federation, OWNERS, PRIVATE, policies) as scene:
                await scene.trained(watcher, evaluate_every=2)
            return
        async with nodes_of(shards(OWNERS), None, policies) as served:
            urls = {name: one.url for name, one in served.items()}
            await trained(urls, PRIVATE, watcher, evaluate_every=2)

    asyncio.run(go())
    assert len(watcher.rounds) == 4
    assert measured(watcher) == [2]
    assert any("held-out figures are" in text for number, _, text in watcher.notices if number == 4)


def test_a_run_folder_tells_of_the_last_round_that_was_measured(
    nodes: list[LocalNode], node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    common = [*node_flags, "--recipe", quick, "--run-dir", tmp_path, "--json"]
    done = run("server", "train", *common, "--rounds", 3, "--evaluate-every", 2, cwd=tmp_path)
    assert done.code == 0, done.err
    totals = [row for row in map(json.loads, done.out.splitlines()) if row.get("node") == "*"]
    assert [row["held_out_roc_auc"] is not None for row in totals] == [False, True, True]
    folder = Path(json.loads(done.out.splitlines()[-1])["run"])
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["metrics_of_round"], summary["rounds_completed"]) == (3, 3)
    found = run_data(folder)
    assert found["overall"]["rows"][0] == 0
    assert all(one["last"]["rows"] for one in found["by_node"].values())
    assert found["settings"]["evaluate_every"] == 2


def test_a_script_that_breaks_off_has_the_figures_of_the_round_before(
    nodes: list[LocalNode], quick: Path, tmp_path: Path
) -> None:
    from server import Federation as Script

    urls = {node.id: node.url for node in nodes}
    script = Script(urls, recipe=str(quick), run_dir=tmp_path, evaluate_every=2)
    with script.rounds(rounds=9) as rounds:
        for one in rounds:
            if one.number == 3:
                assert one.metrics.roc_auc is None
                break
        folder = rounds.run
    assert isinstance(folder, Run)
    assert folder.metrics == folder.rounds[1].metrics
    summary = json.loads((folder.path / "summary.json").read_text())
    assert (summary["metrics_of_round"], summary["rounds_completed"]) == (2, 3)
    assert summary["metrics"]["roc_auc"] == folder.rounds[1].metrics.roc_auc
    assert all(one["last"]["rows"] for one in run_data(folder.path)["by_node"].values())

    gone_on = Script(urls, run_dir=tmp_path).resume(folder.path, evaluate_every=1)
    assert [one.metrics.rows > 0 for one in gone_on.rounds][:5] == [False, True, False, True, True]
