"""Was it worth joining: a run's model beside what each owner has alone, after the run or later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from server.nodes.members import Members
from server.rounds.comparison import Comparison
from server.rounds.records import Observer
from server.rounds.secure_sums import NoRosters
from server.runs.comparison_file import save_comparison
from server.runs.loading import load_rounds
from server.runs.reached_nodes import members_of
from server.runs.report import try_report
from server.runs.run_lock import RunLock
from server.runs.secure_choice import choose, secure_from
from server.runs.settings import RunSettings
from shared.errors import FedsmsError, Interrupted, UsageError

if TYPE_CHECKING:  # PySyft, which the start state is better drawn without
    from server.runs.muted_display import Display
    from shared.model.vectors import Vector


async def compare_after(
    path: Path,
    settings: RunSettings,
    members: Members,
    state: Vector,
    observers: Sequence[Observer],
    is_secure: bool,
) -> FedsmsError | None:
    """Compares the last state (P,) of a run whose nodes are still there, and keeps what it found.

    Never raises, so that the run is complete whatever becomes of this. Safe to cancel.

    Args:
        path: the run folder.

    Returns:
        What went wrong; None where nothing did.
    """
    again = f"The run is complete. Compare with: python -m server compare {path}"
    rounds = settings.recipe.federation.rounds
    try:
        await _compare(path, settings, members, state, rounds, observers, is_secure)
    except asyncio.CancelledError:
        return Interrupted("stopped while the nodes trained alone, to compare", next_step=again)
    except FedsmsError as error:
        error.next_step = f"{error.next_step}\n  {again}".strip()
        return error
    return None


async def compare(path: Path, settings: RunSettings, display: Display) -> Comparison:
    """Compares the newest model of a run, and keeps the comparison in its folder.

    Safe to cancel.

    Args:
        path: the run folder. settings: the run's, with the identity, the wish for secure sums and
            the nodes' addresses that count now.

    Raises:
        UsageError: it trained through pointers, or has no model yet.
        StorageError: a coordinator is at work there, or it is damaged.
        FedsmsError: no node could do it; the error names one.
    """
    from shared.trained_model.saved_model import load_state, round_of

    lock = RunLock(path)
    try:
        rounds = round_of(path, settings.recipe)
        _require_comparable(path, settings, rounds)
        state = load_state(path, settings.recipe)
        load_rounds()
        async with members_of(settings, partial(display.on_notice, 0)) as members:
            await members.start(
                None if settings.min_nodes is None else settings.quorum.of(len(settings.nodes))
            )
            links = {one.id: one.link for one in members.all if one.link is not None}
            wanted, parameters = settings.secure_aggregation, settings.recipe.parameters
            choice = choose(wanted, settings.nodes, links, parameters)
            with display.running():
                found = await _compare(
                    path, settings, members, state, rounds, [display], choice.is_on
                )
        try_report(path)
        return found
    finally:
        lock.release()


def _require_comparable(path: Path, settings: RunSettings, rounds: int) -> None:
    if settings.mode != "rounds":
        raise UsageError(
            f"the run in {path} cannot be compared",
            "it trained through pointers, which no owner can do alone",
            "Compare a run that trained in rounds.",
        )
    if not rounds:
        raise UsageError(
            f"the run in {path} cannot be compared",
            "no round of it is complete",
            f"Go on with it: python -m server train --resume {path}",
        )


async def _compare(
    path: Path,
    settings: RunSettings,
    members: Members,
    state: Vector,
    rounds: int,
    observers: Sequence[Observer],
    is_secure: bool,
) -> Comparison:
    from server.rounds.comparing import Comparing

    secure = secure_from(settings.identity, NoRosters()) if is_secure else None
    comparing = Comparing(members, settings.recipe, settings.seed, rounds, observers, secure)
    found = await comparing.compare(state)
    save_comparison(path, found)
    return found
