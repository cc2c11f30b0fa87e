"""A coordinator in the test's own process, over real sockets to nodes that are processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.cohort import MinNodes
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from server.rounds.records import Round
from shared.identity.folder import DEFAULT
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import Progress
from shared.wire.timeouts import Timeouts

PATIENCE_SECONDS = 90.0
ENDLESS = 100_000
"""Rounds of a run that a test stops when it has seen enough."""
ONE = MinNodes(count=1)


def of_rounds(recipe: Recipe, rounds: int) -> Recipe:
    tables = recipe.model_dump()
    tables["federation"]["rounds"] = rounds
    return Recipe.model_validate(tables)


@dataclass
class Watcher:
    """An Observer that remembers, and calls `on_stage` at each stage of a node."""

    rounds: list[Round] = field(default_factory=list)
    notices: list[tuple[int, str, str]] = field(default_factory=list)
    state: Vector | None = None
    on_stage: Callable[[int, str, str, Progress | None], None] = lambda *_: None

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        self.on_stage(number, node, stage, progress)

    def on_notice(self, number: int, node: str, text: str) -> None:
        self.notices.append((number, node, text))

    def on_round(self, record: Round, state: Vector) -> None:
        self.rounds.append(record)
        self.state = state

    def took_part(self, node: str) -> bool:
        """True where the node is in the newest round."""
        return bool(self.rounds) and node in {one.node for one in self.rounds[-1].nodes}

    def reasons(self, node: str) -> set[str]:
        """Why the node was left out of rounds."""
        return {record.left_out[node] for record in self.rounds if node in record.left_out}


async def until(happened: Callable[[], bool], what: str) -> None:
    """Polls, in the event loop, until something has happened."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while not happened():
        assert loop.time() < deadline, f"waited in vain for: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def members_of(
    urls: Mapping[str, str], timeouts: Timeouts, need: int | None = None, identity: Path = DEFAULT
) -> AsyncIterator[Members]:
    """Nodes that are dialled again when they are lost."""
    connects = {
        node: partial(dial, NodeAddress(node, url), identity, timeouts)
        for node, url in urls.items()
    }
    members = Members(connects, timeouts)
    try:
        await members.start(need)
        yield members
    finally:
        await members.close()


async def trained(
    urls: Mapping[str, str],
    recipe: Recipe,
    watcher: Watcher,
    timeouts: Timeouts | None = None,
    min_nodes: MinNodes = ONE,
    identity: Path = DEFAULT,
    **plan: Any,
) -> Vector:
    """A whole run; gives its last state."""
    async with members_of(urls, timeouts or Timeouts(), identity=identity) as members:
        planned = Plan(seed=1, run="a-test", min_nodes=min_nodes, **plan)
        coordinator = Coordinator(members, recipe, planned, [watcher])
        return await coordinator.run(initial_state(recipe, 1))


@asynccontextmanager
async def training(
    urls: Mapping[str, str],
    recipe: Recipe,
    timeouts: Timeouts,
    min_nodes: MinNodes = ONE,
    identity: Path = DEFAULT,
) -> AsyncIterator[Watcher]:
    """A run that goes on in the background as long as the context lasts."""
    watcher = Watcher()
    # A run that ends with an error ends the test with it, whatever the test waits for.
    async with asyncio.TaskGroup() as group:
        endless = of_rounds(recipe, ENDLESS)
        task = group.create_task(trained(urls, endless, watcher, timeouts, min_nodes, identity))
        yield watcher
        assert not task.done(), "the run is over"
        task.cancel()
