"""How long a coordinator waits for a node that says nothing, as its flags say."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import FedsmsError
from shared.model.recipe import Recipe
from shared.wire.commands import EVALUATE, TRAIN
from shared.wire.timeouts import Timeouts
from tests.helpers.false_nodes import Answers
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.peers import false_node
from tests.helpers.running import finish, start

# a coordinator that ignores its bound waits for ever
pytestmark = pytest.mark.timeout(120)

SILENT: dict[str, dict[str, Any]] = {"train": {TRAIN: None}, "evaluate": {EVALUATE: None}}


@pytest.mark.parametrize("work", SILENT)
def test_a_node_that_never_ends_its_work_is_given_up_after_the_works_own_bound(
    work: str, recipe: Recipe
) -> None:
    watcher = Watcher()
    bounds: dict[str, float] = {f"{work}_timeout": 0.5}
    timeouts = Timeouts(heartbeat=0, round_deadline=0, **bounds)

    async def session() -> None:
        async with (
            false_node(Answers(recipe), "anne") as anne,
            false_node(Answers(recipe, **SILENT[work]), "mallory") as mallory,
        ):
            urls = {"anne": anne, "mallory": mallory}
            await trained(urls, of_rounds(recipe, 1), watcher, timeouts)

    asyncio.run(session())
    (record,) = watcher.rounds
    assert "mallory" in record.without
    assert "0.5 s" in record.without["mallory"]


@pytest.mark.parametrize("work", SILENT)
def test_the_flag_of_a_works_bound_is_what_a_run_goes_by(
    work: str, quick: Path, recipe: Recipe, tmp_path: Path
) -> None:
    flags = [f"--{work}-timeout", 0.5, "--heartbeat", 0, "--round-deadline", 0]

    async def session() -> dict[str, Any]:
        async with (
            false_node(Answers(recipe), "anne") as anne,
            false_node(Answers(recipe, **SILENT[work]), "mallory") as mallory,
        ):
            nodes = ["--node", f"anne={anne}", "--node", f"mallory={mallory}", "--min-nodes", 1]
            common = ["train", "--json", "--recipe", quick, "--rounds", 1, *nodes]
            running = start("server", *common, *flags, cwd=tmp_path)
            done = await asyncio.to_thread(finish, running)
        assert done.code == 0, done.err
        rows = [json.loads(line) for line in done.out.splitlines()]
        (whole,) = [row for row in rows if row.get("node") == "*"]
        found: dict[str, Any] = whole
        return found

    row = asyncio.run(session())
    told = json.dumps(row)
    assert "mallory" in told
    assert "0.5 s" in told


def test_all_nodes_that_never_end_their_work_end_the_run(recipe: Recipe) -> None:
    timeouts = Timeouts(heartbeat=0, round_deadline=0, train_timeout=0.3)

    async def session() -> None:
        async with false_node(Answers(recipe, **SILENT["train"]), "mallory") as mallory:
            await trained({"mallory": mallory}, of_rounds(recipe, 1), Watcher(), timeouts)

    with pytest.raises(FedsmsError, match="mallory"):
        asyncio.run(session())
