"""Federations with secure aggregation in one process: real nodes, TLS and sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.local.many_nodes import Served, nodes_of
from server.nodes.members import Members
from server.rounds.cohort import ALL, MinNodes
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from server.rounds.secure_sums import NoRosters, Rosters
from server.runs.secure_choice import secure_from
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.timeouts import Timeouts
from tests.helpers.federating import Watcher, members_of
from tests.helpers.identities import Federation
from tests.helpers.messages import made_up
from worker_node.data.shard import Shard
from worker_node.guarding.policy import Policy

QUICK = Timeouts(heartbeat=2, rejoin_window=0.5, quorum_wait=5)


def shards(names: Sequence[str]) -> dict[str, Shard]:
    """Each owner's own made-up rows, of differing numbers."""
    found = {}
    for place, name in enumerate(names):
        rows = tuple(made_up(40 + 7 * place, seed=place))
        found[name] = Shard(train=rows[:-10], held_out=rows[-10:])
    return found


@dataclass
class Federated:
    """Nodes that serve, and how to lead them.

    coordinator: its identity folder. kept: the rosters that coordinators leave each other.
    """

    served: Mapping[str, Served]
    coordinator: Path
    recipe: Recipe
    run: str = "a-test"
    kept: Rosters = field(default_factory=NoRosters)
    timeouts: Timeouts = QUICK

    @property
    def urls(self) -> dict[str, str]:
        return {name: one.url for name, one in self.served.items()}

    def members(self) -> Any:
        return members_of(self.urls, self.timeouts, None, self.coordinator)

    def lead(
        self,
        members: Members,
        watcher: Watcher,
        secure: bool = True,
        min_nodes: MinNodes = ALL,
        **plan: Any,
    ) -> Coordinator:
        planned = Plan(seed=1, run=self.run, min_nodes=min_nodes, **plan)
        sums = secure_from(self.coordinator, self.kept) if secure else None
        return Coordinator(members, self.recipe, planned, [watcher], secure=sums)

    async def trained(
        self, watcher: Watcher | None = None, secure: bool = True, **plan: Any
    ) -> Vector:
        """A whole run; gives its last state."""
        async with self.members() as members:
            coordinator = self.lead(members, watcher or Watcher(), secure, **plan)
            return await coordinator.run(initial_state(self.recipe, 1))


@asynccontextmanager
async def federated(
    federation: Federation,
    names: Sequence[str],
    recipe: Recipe,
    policies: Mapping[str, Policy] | None = None,
) -> AsyncIterator[Federated]:
    coordinator = federation.coordinator()  # first: what nodes join with names it
    identities = {name: federation.node(name) for name in names}
    async with nodes_of(shards(names), identities, policies) as served:
        yield Federated(served, coordinator, recipe)
