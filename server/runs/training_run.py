"""One training run, from the addresses of the nodes to a finished run folder."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from server.display.progress import make_display
from server.nodes.dial import connected, dial
from server.nodes.link import Link
from server.nodes.members import Members
from server.rounds.plan import Plan, new_run_id
from server.rounds.records import Observer, Round
from server.runs.interrupts import run_until_signal
from server.runs.muted_display import MutedDisplay
from server.runs.resume import StoppedRun
from server.runs.run_folder import RunFolder
from server.runs.settings import RunSettings, to_json
from server.runs.told_rows import rows_at_start, warnings
from shared.errors import FedsmsError, Interrupted, StorageError
from shared.model.classifier import initial_state
from shared.model.vectors import Vector
from shared.version import versions
from shared.wire.commands import Progress

log = logging.getLogger("fedsms.coordinator")


@dataclass(frozen=True)
class FinishedRun:
    """Where a run lies, and what its rounds told."""

    folder: Path
    rounds: list[Round]


class _Memory:
    """Keeps the rounds' figures for the table at the end."""

    def __init__(self, rounds: Sequence[Round]) -> None:
        self.rounds = list(rounds)

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Nothing to keep."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        """The round's record says it again."""

    def on_round(self, record: Round, state: Vector) -> None:
        self.rounds.append(record)


def train(settings: RunSettings) -> FinishedRun:
    """Connects, trains, and leaves a run folder.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the completed rounds are in the run folder.
        FedsmsError: what went wrong; the completed rounds are in the run folder.
    """
    return run_until_signal(_train(settings, None))


def resume(stopped: StoppedRun, settings: RunSettings) -> FinishedRun:
    """Goes on after the last completed round of a stopped run; raises as `train` does.

    Args:
        settings: the run's own, or with_changes of them.
    """
    try:
        return run_until_signal(_train(settings, stopped))
    finally:
        stopped.lock.release()


async def _train(settings: RunSettings, stopped: StoppedRun | None) -> FinishedRun:
    if settings.mode == "pointers":
        async with connected(settings.nodes, settings.identity, settings.timeouts) as links:
            members = Members.standing(links, settings.timeouts)
            try:
                return await _in_folder(settings, members, None)
            finally:  # or the end of the connections that follows would look like a loss
                await members.close()
    settings.quorum.of(settings.asked)  # raises now where it asks for more than there are
    connects = {
        node.id: partial(dial, node, settings.identity, settings.timeouts)
        for node in settings.nodes
    }
    members = Members(connects, settings.timeouts)
    try:
        if stopped is None or stopped.completed < settings.recipe.federation.rounds:
            await members.start(_needed_to_begin(settings))
        return await _in_folder(settings, members, stopped)
    finally:
        await members.close()


def _needed_to_begin(settings: RunSettings) -> int | None:
    """How many nodes must be there; None for all of them."""
    return None if settings.min_nodes is None else settings.min_nodes.of(settings.asked)


async def _in_folder(
    settings: RunSettings, members: Members, stopped: StoppedRun | None
) -> FinishedRun:
    """The rounds, with all that they leave in the run folder."""
    run = stopped.run if stopped is not None else new_run_id()
    folder = RunFolder(
        settings.run_dir,
        settings.folder_name,
        settings.recipe,
        _resolved(settings, members, run, stopped),
        settings.checkpoints,
        stopped,
    )
    memory = _Memory(stopped.rounds if stopped is not None else ())
    ids = [node.id for node in settings.nodes]
    rounds = settings.recipe.federation.rounds
    display = MutedDisplay(make_display(rounds, ids, settings.as_json))
    try:
        _warn(members, stopped)
        with display.running():
            await _rounds(settings, members, run, stopped, [folder, display, memory])
    except asyncio.CancelledError:
        folder.finish("interrupted")
        raise Interrupted(
            f"stopped after {len(memory.rounds)} of {settings.recipe.federation.rounds} rounds",
            next_step=f"What was done is in {folder.path}.{_how_to_go_on(settings, folder)}",
        ) from None
    except Exception as error:
        with suppress(StorageError):  # of a full disk, the first word is enough
            folder.finish("failed", str(error) or type(error).__name__)
        if isinstance(error, FedsmsError):
            kept = f"{len(memory.rounds)} completed rounds are in {folder.path}."
            how = _how_to_go_on(settings, folder)
            error.next_step = f"{error.next_step}\n  {kept}{how}".strip()
        raise
    folder.finish("completed")
    return FinishedRun(folder.path, memory.rounds)


def _warn(members: Members, stopped: StoppedRun | None) -> None:
    at_start = stopped.rows_at_start if stopped is not None else {}
    for line in warnings(_links(members), at_start):
        click.echo(line, err=True)
        log.warning("%s", line)


def _links(members: Members) -> dict[str, Link]:
    return {one.id: one.link for one in members.all if one.link is not None}


def _how_to_go_on(settings: RunSettings, folder: RunFolder) -> str:
    if settings.mode == "pointers":
        return ""
    return f"\n  Go on with: python -m server train --resume {folder.path}"


async def _rounds(
    settings: RunSettings,
    members: Members,
    run: str,
    stopped: StoppedRun | None,
    observers: list[Observer],
) -> None:
    # Before PySyft hooks torch: from then on every torch call of this process is slower.
    state = initial_state(settings.recipe, settings.seed)
    if settings.mode == "pointers":
        from server.pointers.run import train_with_pointers

        links = {one.id: one.link for one in members.present if one.link is not None}
        await train_with_pointers(
            links, settings.recipe, settings.seed, state, observers, settings.replay
        )
        return
    completed = 0
    if stopped is not None and stopped.state is not None:
        state, completed = stopped.state, stopped.completed
    if completed == settings.recipe.federation.rounds:
        return
    from server.rounds.coordinator import Coordinator

    resumed = stopped is not None
    plan = Plan(settings.seed, run, settings.quorum, settings.cohort, resumed)
    await Coordinator(members, settings.recipe, plan, observers).run(state, completed)


def _resolved(
    settings: RunSettings, members: Members, run: str, stopped: StoppedRun | None
) -> dict[str, Any]:
    """What settings.json says besides the recipe; server/runs/resume.py reads it again."""
    links = _links(members)
    at_start = stopped.rows_at_start if stopped is not None else {}
    return {
        "run": run,
        **to_json(settings),
        "resumed_after": stopped.resumed_after if stopped is not None else [],
        "rows_at_start": rows_at_start(links, at_start),
        "coordinator": {"host": platform.node(), "versions": versions()},
        "nodes": {
            node.id: {"url": node.url, **_facts(links.get(node.id))} for node in settings.nodes
        },
    }


def _facts(link: Link | None) -> dict[str, Any]:
    """What a node has shown and told of itself; nothing where it is not there yet."""
    if link is None:
        return dict.fromkeys(("certificate", "versions", "rows", "labels", "skipped"))
    greeting = link.greeting
    return {
        "certificate": link.certificate,
        "versions": greeting.versions,
        "rows": greeting.rows,
        "labels": greeting.labels,
        "skipped": greeting.skipped,
    }
