"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from server.nodes.addresses import NodeAddress
from server.rounds.cohort import HALF, MinNodes
from shared.identity.folder import DEFAULT
from shared.model.recipe import Recipe
from shared.wire.timeouts import Timeouts

DEFAULT_TIMEOUTS = Timeouts()

Mode = Literal["rounds", "pointers"]


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run.

    run_dir: parent of the run folder. name: last part of its name.
    seed: the same seed, nodes and rows give the same weights, bit for bit.
    checkpoints: how many rounds' models are kept; 0 keeps the newest model alone.
    min_nodes: how many nodes a round needs, also the first; None needs all to begin with, and
        half of those asked for each round.
    cohort: how many nodes are drawn for each round; 0 asks all.
    identity: the identity folder, for nodes that are dialled with TLS.
    mode: "rounds" trains on all nodes at once, "pointers" batch by batch
        (server/pointers/training.py), which needs all nodes to the end and cannot be resumed.
    replay: of pointers, record the step and replay it.
    """

    nodes: tuple[NodeAddress, ...]
    recipe: Recipe
    recipe_name: str
    seed: int = 1
    run_dir: Path = Path("runs")
    name: str = "run"
    checkpoints: int = 3
    min_nodes: MinNodes | None = None
    cohort: int = 0
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    mode: Mode = "rounds"
    replay: bool = False
    as_json: bool = False
    identity: Path = DEFAULT

    @property
    def asked(self) -> int:
        """How many nodes a round asks."""
        return min(self.cohort or len(self.nodes), len(self.nodes))

    @property
    def quorum(self) -> MinNodes:
        """What a round needs."""
        return self.min_nodes or HALF
