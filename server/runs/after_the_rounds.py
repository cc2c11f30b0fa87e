"""What a run does with its model once its last round is complete: hands it out, and compares it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.nodes.members import Members
from server.rounds.plan import Plan
from server.rounds.records import Observer
from server.runs.comparison_run import compare_after
from server.runs.settings import RunSettings
from shared.errors import FedsmsError, Interrupted
from shared.files import write_whole

if TYPE_CHECKING:  # PySyft, which the start state is better drawn without
    from shared.model.vectors import Vector

HANDED_OUT = "handed_out.json"


async def after_the_rounds(
    path: Path,
    settings: RunSettings,
    members: Members,
    run: str,
    state: Vector,
    observers: Sequence[Observer],
    is_secure: bool,
) -> FedsmsError | None:
    """Hands out and compares the last state (P,) of a run, as its settings ask for.

    Never raises, so that the run is complete whatever becomes of this. Safe to cancel.

    Args:
        path: the run folder. run: its id.

    Returns:
        What went wrong first; None where nothing did.
    """

    async def give() -> FedsmsError | None:
        return await _hand_out_after(path, settings, members, run, state, observers)

    async def compare() -> FedsmsError | None:
        return await compare_after(path, settings, members, state, observers, is_secure)

    works: list[Callable[[], Awaitable[FedsmsError | None]]] = []
    works += [give] if settings.hand_out else []  # soon done, and the other may be stopped
    works += [compare] if settings.compare else []
    first: FedsmsError | None = None
    for work in works:
        failure = await work()
        first = first or failure
        if isinstance(failure, Interrupted):
            return failure
    return first


async def _hand_out_after(
    path: Path,
    settings: RunSettings,
    members: Members,
    run: str,
    state: Vector,
    observers: Sequence[Observer],
) -> FedsmsError | None:
    from server.rounds.handing_out import HandingOut

    again = (
        "The run is complete. Hand its model out with: "
        f"python -m server train --resume {path} --hand-out"
    )
    rounds = settings.recipe.federation.rounds
    try:
        handing_out = HandingOut(
            members, settings.recipe, Plan(settings.seed, run), rounds, observers
        )
        found = await handing_out.hand_out(state)
        write_whole(path / HANDED_OUT, (json.dumps(found.as_dict(), indent=2) + "\n").encode())
    except asyncio.CancelledError:
        return Interrupted("stopped while the model was handed out", next_step=again)
    except FedsmsError as error:
        error.next_step = f"{error.next_step}\n  {again}".strip()
        return error
    for node in found.owners:
        for observer in observers:
            observer.on_notice(rounds, node, "keeps the model for its owner's own predictions")
    return None
