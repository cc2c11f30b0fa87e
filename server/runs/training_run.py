"""One training run, from the addresses of the nodes to a finished run folder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from server.aggregation.aggregators import MakeAggregator
from server.aggregation.server_optimizer import make_server_optimizer
from server.display.progress import Silent
from server.display.trackers.tracker import Status, Tracking
from server.nodes.link import Link
from server.nodes.members import Members
from server.nodes.reaching import Reach, connected
from server.rounds.plan import new_run_id
from server.rounds.records import Observer, Proceed, Round
from server.runs.after_the_rounds import after_the_rounds
from server.runs.loading import load_for
from server.runs.muted_display import Display, MutedDisplay
from server.runs.reached_nodes import members_of, say_who_is_awaited
from server.runs.resume import StoppedRun
from server.runs.rosters_file import RostersFile
from server.runs.rounds_of_a_run import RoundsOfARun
from server.runs.run_folder import RunFolder
from server.runs.run_log import begin_run
from server.runs.secure_choice import Choice, about_owners, choose, secure_from
from server.runs.settings import RunSettings
from server.runs.settings_file import resolved
from server.runs.told_rows import warnings
from server.runs.tracking import check_tracking, finish_all, tracking_of
from shared.errors import FedsmsError, Interrupted, StorageError, UsageError
from shared.model.vectors import Vector
from shared.wire.commands import Progress

log = logging.getLogger("fedsms.coordinator")


class _Memory:
    """Counts the rounds that are complete, and keeps the newest state (P,); None before it."""

    def __init__(self, completed: int, state: Vector | None) -> None:
        self.completed = completed
        self.state = state

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Nothing to keep."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        """Nothing to keep."""

    def on_round(self, record: Round, state: Vector) -> None:
        self.completed, self.state = record.number, state

    def has_all_of(self, settings: RunSettings) -> bool:
        return self.completed == settings.recipe.federation.rounds


@dataclass(frozen=True)
class Steering:
    """What goes with a run beside its settings.

    display: shows it; observers: follow it beside that.
    proceed: awaited after each round; None goes on at once.
    make: an aggregation rule in place of the recipe's; own_rule: what it is called in the record.
    opened: told of the run folder, once it is there.
    reach: how nodes are reached; None does as the settings say, and listens for the run alone.
    """

    display: Display = field(default_factory=Silent)
    observers: Sequence[Observer] = ()
    proceed: Proceed | None = None
    make: MakeAggregator | None = None
    own_rule: str | None = None
    opened: Callable[[RunFolder], object] = lambda _: None
    reach: Reach | None = None


async def train(settings: RunSettings, steering: Steering | None = None) -> Path:
    """Connects, trains, and leaves a run folder, which it gives.

    Safe to cancel: it then puts things away, and raises Interrupted.

    Raises:
        Interrupted: it was cancelled; the completed rounds are in the run folder.
        FedsmsError: what went wrong; the completed rounds are in the run folder.
    """
    return await _train(settings, None, steering or Steering())


async def resume(
    stopped: StoppedRun, settings: RunSettings, steering: Steering | None = None
) -> Path:
    """Goes on after the last completed round of a stopped run; raises as `train` does.

    Args:
        settings: the run's own, or with_changes of them.

    Raises:
        UsageError: the run has an aggregation rule of its own, and another is given.
    """
    steering = steering or Steering()
    try:
        check_own_rule(stopped, steering.own_rule)
        return await _train(settings, stopped, steering)
    finally:
        stopped.lock.release()


def check_own_rule(stopped: StoppedRun, given: str | None) -> None:
    """Raises UsageError where a run would go on with another aggregation rule than it began with.

    Args:
        given: the name of the rule that somebody brought; None for the recipe's.
    """
    if stopped.own_rule != given:
        raise UsageError(
            f"the run in {stopped.path} cannot go on with this aggregation rule",
            f"it began with {stopped.own_rule or 'the rule that its recipe names'}",
            "Give the same rule again: Federation.resume(run, aggregation=...)."
            if stopped.own_rule
            else "Leave aggregation away.",
        )


async def _train(settings: RunSettings, stopped: StoppedRun | None, steering: Steering) -> Path:
    check_tracking(settings.track)  # before anybody is dialled
    await load_for(settings.mode)
    begin_run()
    tell = partial(_tell_before_the_first_round, steering)
    if settings.mode == "pointers":
        waits = partial(say_who_is_awaited, settings, tell)
        opened = connected(
            settings.nodes, settings.identity, settings.timeouts, waits, steering.reach
        )
        async with opened as links:
            members = Members.standing(links, settings.timeouts)
            try:
                return await _in_folder(settings, members, None, steering)
            finally:  # or the end of the connections that follows would look like a loss
                await members.close()
    settings.quorum.of(settings.asked)  # raises now where it asks for more than there are
    is_over = stopped is not None and stopped.completed >= settings.recipe.federation.rounds
    if is_over and not (settings.compare or settings.hand_out):
        members = Members({node.id: None for node in settings.nodes}, settings.timeouts)
        return await _in_folder(settings, members, stopped, steering)
    async with members_of(settings, tell, steering.reach) as members:
        await members.start(_needed_to_begin(settings))
        return await _in_folder(settings, members, stopped, steering)


def _tell_before_the_first_round(steering: Steering, node: str, text: str) -> None:
    log.warning("%s", f"node {node} {text}" if node else text)
    for observer in (steering.display, *steering.observers):
        observer.on_notice(0, node, text)


def _needed_to_begin(settings: RunSettings) -> int | None:
    """How many nodes must be there; None for all of them."""
    return None if settings.min_nodes is None else settings.min_nodes.of(settings.asked)


async def _in_folder(
    settings: RunSettings, members: Members, stopped: StoppedRun | None, steering: Steering
) -> Path:
    """The rounds, with all that they leave in the run folder."""
    run = stopped.run if stopped is not None else new_run_id()
    remembered = stopped.moments if stopped is not None else {}
    optimizer = make_server_optimizer(settings.recipe.federation, remembered)
    choice = _choice(settings, members, stopped, steering.own_rule)
    folder = RunFolder(
        settings.run_dir,
        settings.folder_name,
        settings.recipe,
        resolved(settings, _links(members), run, stopped, steering.own_rule, choice.is_on),
        settings.checkpoints,
        stopped,
        lambda: optimizer.moments,
    )
    memory = _Memory(stopped.completed, stopped.state) if stopped is not None else _Memory(0, None)
    display = MutedDisplay(steering.display)
    observers: list[Observer] = [folder, display, memory, *steering.observers]
    trackers = tracking_of(settings.track, folder, stopped, partial(_notice, observers))
    observers += trackers
    async with _put_away(settings, folder, memory, trackers):
        steering.opened(folder)
        _warn(settings, members, stopped, observers, choice)
        with display.running():
            secure = secure_from(settings.identity, RostersFile(folder.path))
            await RoundsOfARun(
                settings,
                members,
                run,
                stopped,
                observers,
                optimizer,
                secure if choice.is_on else None,
                steering.proceed,
                steering.make,
            ).run_them()
            failure = await _after_the_last(
                settings, folder, memory, members, run, observers, choice.is_on
            )
            status: Status = "completed" if memory.has_all_of(settings) else "stopped"
            await finish_all(trackers, status)
    await _finish_beside(folder, status)
    if failure is not None:
        raise failure
    return folder.path


async def _after_the_last(
    settings: RunSettings,
    folder: RunFolder,
    memory: _Memory,
    members: Members,
    run: str,
    observers: Sequence[Observer],
    is_secure: bool,
) -> FedsmsError | None:
    """What a complete run does with its model; gives what went wrong first, None where nothing."""
    if not memory.has_all_of(settings) or memory.state is None:
        return None
    # the last round's model, written later, would take a comparison for an older one's
    await asyncio.to_thread(folder.settle)
    return await after_the_rounds(
        folder.path, settings, members, run, memory.state, observers, is_secure
    )


@asynccontextmanager
async def _put_away(
    settings: RunSettings, folder: RunFolder, memory: _Memory, trackers: Sequence[Tracking]
) -> AsyncIterator[None]:
    """Finishes the run folder and the trackers of a run that fails or is stopped meanwhile.

    Raises:
        Interrupted: the run was cancelled.
        FedsmsError: what went wrong, with what is kept and how to go on.
    """
    rounds = settings.recipe.federation.rounds
    try:
        yield
    except asyncio.CancelledError:
        folder.finish("interrupted")
        await finish_all(trackers, "interrupted")
        raise Interrupted(
            f"stopped after {memory.completed} of {rounds} rounds",
            next_step=f"What was done is in {folder.path}.{_how_to_go_on(settings, folder)}",
        ) from None
    except Exception as error:
        with suppress(StorageError):  # of a full disk, the first word is enough
            folder.finish("failed", str(error) or type(error).__name__)
        await finish_all(trackers, "failed")
        if isinstance(error, FedsmsError):
            kept = f"{memory.completed} completed rounds are in {folder.path}."
            how = _how_to_go_on(settings, folder)
            error.next_step = f"{error.next_step}\n  {kept}{how}".strip()
        raise


async def _finish_beside(folder: RunFolder, status: Status) -> None:
    """Finishes the folder, whose report may take seconds, while the event loop answers others.

    Raises:
        Interrupted: it was cancelled meanwhile; the folder is finished all the same.
        StorageError: as `RunFolder.finish`.
    """
    finishing = asyncio.create_task(asyncio.to_thread(folder.finish, status))
    try:
        await asyncio.shield(finishing)
    except asyncio.CancelledError:
        await asyncio.wait([finishing])
        finishing.result()
        raise Interrupted(f"stopped when the run was over; all of it is in {folder.path}") from None


def _choice(
    settings: RunSettings, members: Members, stopped: StoppedRun | None, own_rule: str | None
) -> Choice:
    """Whether sums are secure; a run that goes on goes on as it began."""
    if settings.mode == "pointers":
        return Choice(False, "")
    wanted = settings.secure_aggregation
    if stopped is not None:
        return Choice(stopped.secure_sums, "")
    recipe = settings.recipe
    rule = own_rule or recipe.federation.aggregation
    return choose(wanted, settings.nodes, _links(members), recipe.parameters, rule)


def _warn(
    settings: RunSettings,
    members: Members,
    stopped: StoppedRun | None,
    observers: Sequence[Observer],
    choice: Choice,
) -> None:
    at_start = stopped.rows_at_start if stopped is not None else {}
    few = about_owners(settings.recipe, len(settings.nodes), choice.is_on)
    for line in [*filter(None, [choice.why, few]), *warnings(_links(members), at_start)]:
        _notice(observers, line)


def _notice(observers: Sequence[Observer], line: str) -> None:
    for observer in observers:
        observer.on_notice(0, "", line)


def _links(members: Members) -> dict[str, Link]:
    return {one.id: one.link for one in members.all if one.link is not None}


def _how_to_go_on(settings: RunSettings, folder: RunFolder) -> str:
    if settings.mode == "pointers":
        return ""
    return f"\n  Go on with: python -m server train --resume {folder.path}"
