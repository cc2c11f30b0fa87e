"""One training run, from the addresses of the nodes to a finished run folder."""

from __future__ import annotations

import asyncio
import logging
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from server.addresses import NodeAddress
from server.connecting import connected
from server.display import Display, make_display
from server.interrupts import run_until_signal
from server.link import Link
from server.records import Round
from server.runs import RunFolder
from shared.commands import Progress
from shared.errors import FedsmsError, Interrupted, StorageError
from shared.identity import DEFAULT
from shared.model import initial_state
from shared.recipe import Recipe
from shared.vectors import Vector
from shared.version import versions

Mode = Literal["rounds", "pointers"]

log = logging.getLogger("fedsms.coordinator")


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run.

    run_dir: parent of the run folder. name: last part of its name.
    seed: the same seed, nodes and rows give the same weights, bit for bit.
    checkpoints: how many rounds' models are kept; 0 keeps the newest model alone.
    identity: the identity folder, for nodes that are dialled with TLS.
    mode: "rounds" trains on all nodes at once, "pointers" batch by batch (pointer_training.py).
    replay: of pointers, record the step and replay it.
    """

    nodes: tuple[NodeAddress, ...]
    recipe: Recipe
    recipe_name: str
    seed: int = 1
    run_dir: Path = Path("runs")
    name: str = "run"
    checkpoints: int = 3
    mode: Mode = "rounds"
    replay: bool = False
    as_json: bool = False
    identity: Path = DEFAULT


@dataclass(frozen=True)
class FinishedRun:
    """Where a run lies, and what its rounds told."""

    folder: Path
    rounds: list[Round]


class _Memory:
    """Keeps the rounds' figures for the table at the end."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Nothing to keep."""

    def on_round(self, record: Round, state: Vector) -> None:
        self.rounds.append(record)


def train(settings: RunSettings) -> FinishedRun:
    """Connects, trains, and leaves a run folder.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the completed rounds are in the run folder.
        FedsmsError: what went wrong; the completed rounds are in the run folder.
    """
    return run_until_signal(_train(settings))


async def _train(settings: RunSettings) -> FinishedRun:
    async with connected(settings.nodes, settings.identity) as links:
        folder = RunFolder(
            settings.run_dir,
            settings.name,
            settings.recipe,
            _resolved(settings, links),
            settings.checkpoints,
        )
        memory = _Memory()
        display = make_display(settings.recipe.federation.rounds, list(links), settings.as_json)
        try:
            with display.running():
                await _rounds(settings, links, folder, display, memory)
        except asyncio.CancelledError:
            folder.finish("interrupted")
            raise Interrupted(
                f"stopped after {len(memory.rounds)} of {settings.recipe.federation.rounds} rounds",
                next_step=f"What was done is in {folder.path}.",
            ) from None
        except Exception as error:
            with suppress(StorageError):  # of a full disk, the first word is enough
                folder.finish("failed", str(error) or type(error).__name__)
            if isinstance(error, FedsmsError):
                kept = f"{len(memory.rounds)} completed rounds are in {folder.path}."
                error.next_step = f"{error.next_step}\n  {kept}".strip()
            raise
        folder.finish("completed")
    return FinishedRun(folder.path, memory.rounds)


async def _rounds(
    settings: RunSettings,
    links: dict[str, Link],
    folder: RunFolder,
    display: Display,
    memory: _Memory,
) -> None:
    # Before PySyft hooks torch: from then on every torch call of this process is slower.
    state = initial_state(settings.recipe, settings.seed)
    observers = [folder, display, memory]
    if settings.mode == "pointers":
        from server.pointer_run import train_with_pointers

        await train_with_pointers(
            links, settings.recipe, settings.seed, state, observers, settings.replay
        )
        return
    from server.coordinator import Coordinator
    from server.node_client import NodeClient

    clients = [NodeClient(node, link) for node, link in links.items()]
    await Coordinator(clients, settings.recipe, settings.seed, observers).run(state)


def _resolved(settings: RunSettings, links: dict[str, Link]) -> dict[str, Any]:
    """What settings.json says besides the recipe."""
    return {
        "recipe_name": settings.recipe_name,
        "seed": settings.seed,
        "checkpoints": settings.checkpoints,
        "mode": settings.mode,
        "replay": settings.replay,
        "coordinator": {"host": platform.node(), "versions": versions()},
        "nodes": {
            node.id: {
                "url": node.url,
                "certificate": links[node.id].certificate,
                "versions": links[node.id].greeting.versions,
                "rows": links[node.id].greeting.rows,
                "labels": links[node.id].greeting.labels,
            }
            for node in settings.nodes
        },
    }


def with_rounds(recipe: Recipe, rounds: int | None) -> Recipe:
    """The recipe, with another number of rounds unless that is None.

    Raises:
        UsageError: more rounds than a recipe may have.
    """
    if rounds is None:
        return recipe
    tables = recipe.model_dump()
    tables["federation"]["rounds"] = rounds
    return Recipe.parse(tables, source="the recipe with --rounds")
