"""The coordinator that stays: one port for all runs, and whoever dials it is here between them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from server.display.progress import Lines
from server.display.run_metrics import RunMetrics
from server.federation.live_page import LiveRun, on_a_page
from server.federation.metered import metered
from server.federation.preparation import Preparation
from server.federation.run import Run
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.link import Link
from server.nodes.port import Port, open_port
from server.runs.loading import load_rounds
from server.runs.reached_nodes import reception_of
from server.runs.training_run import Steering, train
from server.standing.asking import Tell, answering, error_to_json
from server.standing.followed import Followed
from server.standing.presence import Presence
from server.standing.schedule import Schedule
from server.standing.unfinished import Unfinished
from shared.errors import FedsmsError, Interrupted, NodeUnreachable, UsageError, one_line
from shared.wire.urls import is_secure

log = logging.getLogger("fedsms.coordinator")
LOCK = ".up.lock"
Work = Callable[[Steering], Coroutine[Any, Any, Path]]


@dataclass(frozen=True)
class Ways:
    """How a standing coordinator speaks, and what time it is.

    tell: of a node's id, or "" for none, and what became of it.
    page: given the address of each run's live page; None serves none.
    metrics: follows each run; None where nobody does.
    now: this machine's time of day.
    """

    tell: Callable[[str, str], object] = lambda node, words: None
    page: Callable[[str], object] | None = None
    metrics: RunMetrics | None = None
    now: Callable[[], datetime] = datetime.now


class StandingCoordinator:
    """Listens, and trains when it is asked, or when its schedule says so; one run at a time.

    Args:
        federation: its nodes, of which those without an address dial in; none takes all that
            come, and a run has those that are here when it begins. And the settings of runs.
        schedule: of the runs that it begins of its own accord.

    Raises:
        UsageError: it listens nowhere, or takes all that come without TLS.
    """

    def __init__(self, federation: Preparation, schedule: Schedule, ways: Ways | None = None):
        configuration = federation.configuration
        if configuration.listen is None:
            raise UsageError(
                "a coordinator that stays listens somewhere", next_step="Add --listen 0.0.0.0:8770."
            )
        if not configuration.nodes and not is_secure(configuration.listen):
            raise UsageError(
                "without TLS nothing says who dials in",
                next_step="Name the nodes with --node, or listen with TLS.",
            )
        self._federation = federation
        self._listen = configuration.listen
        self._schedule = schedule
        self._ways = ways or Ways()
        self._turn = asyncio.Lock()
        self._last: frozenset[str] = frozenset()
        least = configuration.settings.get("min_nodes")
        self._presence = Presence(
            configuration.nodes, None if least is None else str(least), self._ways.tell
        )
        self._unfinished = Unfinished(configuration.identity)
        self._port: Port

    async def stay(self) -> None:
        """Stays until it is cancelled; a run that goes on is then ended as Ctrl-C ends one.

        Raises:
            Interrupted: from such a run. UsageError, IdentityError: it cannot listen there.
        """
        configuration = self._federation.configuration
        load_rounds()
        configuration.vet([NodeAddress("anybody", self._listen, dials_in=True)])
        identity, tell = configuration.identity, self._ways.tell
        named = {node.id for node in configuration.nodes if node.dials_in}
        opened = open_port(
            self._listen,
            named if configuration.nodes else None,
            identity,
            tell=self._presence.arrived,
            reception=reception_of(configuration.authority, identity, tell),
        )
        async with self._alone(identity), opened as self._port, answering(identity, self._answer):
            self._presence.follow(self._port.places)
            tell("", f"listens at {self._port.url}{self._what_for()}")
            await self._go_on()
            await self._keep_time()

    def _what_for(self) -> str:
        names = ", ".join(node.id for node in self._federation.configuration.nodes)
        times = f"; it trains {self._schedule}" if str(self._schedule) else ""
        return f", for {names or 'every node of the federation'}{times}"

    @asynccontextmanager
    async def _alone(self, folder: Path) -> AsyncIterator[None]:
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                "another coordinator stays here already",
                f"with the identity in {folder}",
                "Ask that one: python -m server train --up; or stop it.",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _nodes(self) -> tuple[NodeAddress, ...]:
        """Those of a run that begins now."""
        named = self._federation.configuration.nodes
        if named:
            return named
        return tuple(
            NodeAddress(node, self._listen, dials_in=True) for node in sorted(self._presence.here)
        )

    async def _keep_time(self) -> None:
        """Begins runs by the schedule."""
        due, is_time = self._schedule.next_time(self._ways.now()), False
        while True:
            now, presence = self._ways.now(), self._presence
            if due is not None and now >= due:
                due, is_time = self._schedule.next_time(now), True
            verdict = self._schedule.decide(is_time, presence.here, self._last, presence.is_ready)
            if verdict != "wait":
                is_time = False
            if verdict == "skip":
                here = ", ".join(sorted(presence.here)) or "nobody"
                self._ways.tell("", f"it is time to train, and too few are here: {here}")
            if verdict == "begin":
                await self._begin_by_itself()
                continue
            await presence.change()

    async def _begin_by_itself(self) -> None:
        try:
            await self._train({}, Followed())
        except Interrupted:
            if self._is_ending():
                raise
        except FedsmsError as error:
            self._ways.tell("", f"the run has failed: {one_line(error)}")

    @staticmethod
    def _is_ending() -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0

    async def _answer(self, asked: dict[str, Any], tell: Tell) -> None:
        """What `train --up` asked: its settings, and what becomes of the run."""
        followed = Followed(tell)
        async with followed.sending():
            try:
                if self._turn.locked():
                    followed.on_notice(0, "", "another run goes on; this one waits for its end")
                given = asked.get("settings", {})
                if not isinstance(given, dict):
                    raise UsageError("the settings of a run are a table")
                path = await self._train(given, followed)
                followed.send({"run": str(path.resolve())})
            except FedsmsError as error:
                followed.send({"error": error_to_json(error)})
                if isinstance(error, Interrupted) and self._is_ending():
                    raise

    async def _train(self, given: Mapping[str, Any], followed: Followed) -> Path:
        """One run; raises as `train` does, and UsageError for settings that are none."""
        anybody = NodeAddress("anybody", self._listen, dials_in=True)
        self._federation.settings_for(None, given, (anybody,))  # raises now, and not after a wait
        async with self._turn:
            waits = "waits until as many nodes are here as a run needs"
            await self._presence.until_ready(lambda: followed.on_notice(0, "", waits))
            nodes = self._nodes()
            if not nodes:
                raise NodeUnreachable(
                    "no node is here",
                    f"they dial in at {self._port.url}",
                    "Start one, and ask again.",
                )
            settings = self._federation.settings_for(None, given, nodes)
            self._ways.tell("", f"a run begins, with {', '.join(one.id for one in nodes)}")

            async def work(steering: Steering) -> Path:
                return await train(settings, steering)

            return await self._led(work, followed, frozenset(one.id for one in nodes))

    async def _go_on(self) -> None:
        """Resumes what was under way when this coordinator ended."""
        path = self._unfinished.path
        if path is None or not path.is_dir() or Run(path).status in ("completed", "running"):
            return
        self._ways.tell("", f"goes on with the run in {path}")
        async with self._turn:
            try:
                work = self._federation.going_on(path, {}, None)
                await self._led(work, Followed(), frozenset())
            except Interrupted:
                if self._is_ending():
                    raise
            except FedsmsError as error:
                self._ways.tell("", f"the run in {path} cannot go on: {one_line(error)}")

    async def _led(self, work: Work, followed: Followed, nodes: frozenset[str]) -> Path:
        """A run from its beginning to its end, with whoever looks on."""
        async with contextlib.AsyncExitStack() as stack:
            steering = Steering(
                display=Lines(),
                observers=(followed,),
                opened=lambda folder: self._unfinished.note(folder.path),
                reach=self._reach,
            )
            running: list[asyncio.Task[Path]] = []
            if self._ways.page is not None:
                live = LiveRun(self._ways.page, lambda: running[0].cancel())
                await stack.enter_async_context(live.page)
                steering = on_a_page(live, steering)
            if self._ways.metrics is not None:
                work = metered(work, self._ways.metrics)
            self._presence.is_running = True
            running.append(asyncio.create_task(work(steering)))
            try:
                path = await running[0]
            except FedsmsError:
                if not self._is_ending():
                    self._unfinished.forget()
                raise
            finally:
                self._last = nodes or self._last
                self._presence.released(self._last)
        self._unfinished.forget()
        self._ways.tell("", f"the run is over: {path}")
        return path

    async def _reach(self, address: NodeAddress) -> Link:
        if address.dials_in:
            return await self._port.link(address)
        return await dial(address, self._federation.configuration.identity)
