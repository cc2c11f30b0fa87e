"""A soak: many rounds on small shards while everything that can fail does, drawn by a seed.

    python scripts/chaos.py
    python scripts/chaos.py --rounds 50 --seed 7
    python scripts/chaos.py --rounds 300 --secure-aggregation

One coordinator and three nodes, each a process; the lines to the nodes go through faulty ones
(scripts/local/faulty_line.py). Every few rounds a fault is drawn: a line is cut, cut in the middle
of a frame, falls silent, refuses or crawls for a moment; a node is stopped for a moment, killed and
started again, or its training process is killed. At the end: how often each fault came, what it
cost, and whether memory, file descriptors, threads or stored objects have grown in any process that
lived all the time. Exits with 1 where something has.

With --secure-aggregation there are five nodes with certificates: of five, one may be lost once
shares are dealt. A round that loses more comes to nothing, and is counted.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.fetch_data import find_data
from scripts.local.faulty_line import Line, line_to
from scripts.local.identities import make_identities
from scripts.local.nodes import LocalNode, start_node, wait_until_ready
from scripts.split_data import split_data
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.cohort import MinNodes
from server.rounds.plan import Plan, new_run_id
from server.rounds.records import Round
from server.runs.rosters_file import RostersFile
from server.runs.run_folder import RunFolder
from server.runs.secure_choice import secure_from
from shared.cli import HELP, run
from shared.identity.folder import DEFAULT
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import Progress
from shared.wire.timeouts import Timeouts

VICTIM = "victim"
"""The node that is killed and started again; the others live all the time."""
SURVIVORS = ("anne", "bob")
MORE_SURVIVORS = ("carol", "dora")
"""Who is there too with secure aggregation."""
EVERY_ROUNDS = 3
"""Mean distance of two faults, where the one before has passed."""
MOMENT_SECONDS = 2.5
"""Length of a fault that passes: longer than the heartbeat."""
TIMEOUTS = Timeouts(heartbeat=2, rejoin_window=0.5, round_deadline=60, transfer_timeout=30)
GROWTH = 1.05
"""Memory may be so much larger at the end than after a tenth of the rounds."""
SLACK = 8
"""File descriptors and threads may be so many more: connections that are being made or closed."""

RECIPE = {
    "text": {"tokens": 12, "buckets": 512},
    "model": {"embedding": 8, "hidden": 6},
    "training": {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 16, "max_batches": 60},
}


@dataclass(frozen=True)
class Size:
    """What a process holds: resident memory in MB, file descriptors, threads, and objects of the
    coordinator's in Python's and in PySyft's store; 0 where it is not known."""

    memory: float
    descriptors: int
    threads: int
    objects: int = 0
    stored: int = 0


def size_of(pid: int) -> Size:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Size(int(facts["VmRSS"].split()[0]) / 1024, descriptors, int(facts["Threads"]))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    return [int(child) for child in found.split()]


def own_size() -> Size:
    from shared.pysyft import make_hook

    gc.collect()
    stored = len(make_hook().local_worker._objects)
    found = size_of(os.getpid())
    return Size(found.memory, found.descriptors, found.threads, len(gc.get_objects()), stored)


@dataclass
class Soak:
    """The run's Observer: draws faults, counts what happens."""

    random: random.Random
    lines: dict[str, Line]
    nodes: dict[str, LocalNode]
    flags: dict[str, tuple[str, ...]]
    rounds: int
    faults: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[int, dict[str, Size]]] = field(default_factory=list)
    lost: int = 0
    completed: int = 0
    longest: float = 0.0
    _fault: asyncio.Task[None] | None = None
    _due: int = EVERY_ROUNDS

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Faults fall where they fall."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        """The round's record counts; of a round that is lost there is none."""
        self.lost += not node and text.startswith("is lost")

    def on_round(self, record: Round, state: Vector) -> None:
        self.completed = record.number
        self.longest = max(self.longest, record.seconds)
        for node, why in record.left_out.items():
            self.left_out[f"{node}: {_kind(why)}"] += 1
        if record.number % max(1, self.rounds // 10) == 0:
            self.sizes.append((record.number, self.measure()))
            click.echo(f"{record.number} rounds, {sum(self.faults.values())} faults", err=True)
        if record.number >= self._due and (self._fault is None or self._fault.done()):
            self._due = record.number + self.random.randint(1, 2 * EVERY_ROUNDS)
            self._fault = asyncio.create_task(self._strike())

    async def calm(self) -> None:
        """Waits for the last fault to pass."""
        if self._fault is not None:
            await self._fault

    def measure(self) -> dict[str, Size]:
        sizes = {"coordinator": own_size()}
        return sizes | {f"node {name}": size_of(self.nodes[name].process.pid) for name in SURVIVORS}

    async def _strike(self) -> None:
        name = self.random.choice(list(self.lines))
        kinds: dict[str, Callable[[Line, LocalNode], Awaitable[None]]] = {
            "line cut": self._cut,
            "line cut in the middle of a frame": self._cut_in_frame,
            "line silent for a moment": partial(self._moment, attribute="silent", value=True),
            "line refusing for a moment": self._refuse,
            "line at 1 Mbit/s and 150 ms for a moment": self._crawl,
            "node stopped for a moment": self._stop,
            "training process killed": self._kill_trainer,
        }
        if name == VICTIM:
            kinds["node killed and started again"] = self._kill
        kind = self.random.choice(list(kinds))
        self.faults[kind] += 1
        await kinds[kind](self.lines[name], self.nodes[name])

    async def _cut(self, line: Line, _: LocalNode) -> None:
        line.cut()

    async def _cut_in_frame(self, line: Line, _: LocalNode) -> None:
        which = self.random.choice(("cut_after", "cut_back_after"))
        setattr(line, which, self.random.randint(1, 30_000))

    async def _moment(self, line: Line, _: LocalNode, attribute: str, value: Any) -> None:
        before = getattr(line, attribute)
        setattr(line, attribute, value)
        await asyncio.sleep(MOMENT_SECONDS)
        setattr(line, attribute, before)

    async def _refuse(self, line: Line, node: LocalNode) -> None:
        line.refusing = True
        line.cut()
        await asyncio.sleep(MOMENT_SECONDS)
        line.refusing = False

    async def _crawl(self, line: Line, node: LocalNode) -> None:
        line.delay = 0.15
        await self._moment(line, node, "bytes_a_second", 125_000)
        line.delay = 0.0

    async def _stop(self, _: Line, node: LocalNode) -> None:
        os.kill(node.process.pid, signal.SIGSTOP)
        await asyncio.sleep(MOMENT_SECONDS)
        os.kill(node.process.pid, signal.SIGCONT)

    async def _kill_trainer(self, _: Line, node: LocalNode) -> None:
        for child in children(node.process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    async def _kill(self, line: Line, node: LocalNode) -> None:
        node.process.kill()
        fresh = await asyncio.to_thread(_start, node.id, self.flags[node.id])
        node.stop()
        self.nodes[node.id] = fresh
        line.target(fresh.url)


def _kind(why: str) -> str:
    """The reason without what differs from time to time."""
    for words in ("said nothing", "broke without a goodbye", "died", "late", "cannot reach"):
        if words in why:
            return words
    return why.split(":")[-1].strip()[:40]


def _start(name: str, flags: tuple[str, ...]) -> LocalNode:
    node = start_node(name, flags)
    wait_until_ready(node)
    return node


def recipe_of(rounds: int) -> Recipe:
    return Recipe.parse({**RECIPE, "federation": {"rounds": rounds}}, source="the soak's recipe")


async def soak(draws: Soak, folder: Path, identity: Path | None) -> Path:
    """All rounds; gives the run folder.

    Args:
        identity: the coordinator's, for secure sums; None has none.
    """
    recipe = recipe_of(draws.rounds)
    state = initial_state(recipe, 1)
    from server.rounds.coordinator import Coordinator

    connects = {
        name: partial(dial, NodeAddress(name, line.url), identity or DEFAULT, TIMEOUTS)
        for name, line in draws.lines.items()
    }
    members = Members(connects, TIMEOUTS)
    run_folder = RunFolder(folder, "soak", recipe, {}, checkpoints=3)
    rosters = RostersFile(run_folder.path)
    secure = secure_from(identity, rosters) if identity is not None else None
    try:
        await members.start(None)
        plan = Plan(1, new_run_id(), MinNodes(count=1))
        leading = Coordinator(members, recipe, plan, [draws, run_folder], secure=secure)
        await leading.run(state)
        await draws.calm()
    finally:
        await members.close()
        run_folder.finish("completed" if draws.completed == draws.rounds else "failed")
    return run_folder.path


def growth(draws: Soak) -> list[str]:
    """What has grown more than it may, in words."""
    found = []
    (_, early), (_, late) = draws.sizes[0], draws.sizes[-1]
    for process, before in early.items():
        after = late[process]
        if after.memory > GROWTH * before.memory:
            found.append(f"memory of {process}: {before.memory:.0f} to {after.memory:.0f} MB")
        found += [
            f"{name} of {process}: {getattr(before, name)} to {getattr(after, name)}"
            for name in ("descriptors", "threads", "stored")
            if getattr(after, name) > getattr(before, name) + SLACK
        ]
        if after.objects > GROWTH * before.objects:
            found.append(f"objects of {process}: {before.objects} to {after.objects}")
    return found


def report(draws: Soak, path: Path, seconds: float) -> None:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    totals = [row["round"] for row in rows if row["node"] == "*"]
    whole = len(set(totals)) == len(totals) == draws.rounds - draws.lost and totals == sorted(
        totals
    )
    words = "each once and in order" if whole else "NOT WHOLE"
    click.echo(f"{draws.completed} rounds in {seconds:.0f} s, rows of metrics {words}")
    if draws.lost:
        click.echo(f"{draws.lost} rounds were lost, each with a notice")
    click.echo(f"longest round {draws.longest:.1f} s")
    click.echo("faults:")
    for kind, count in sorted(draws.faults.items()):
        click.echo(f"  {count:>4}  {kind}")
    click.echo("rounds without a node:")
    for why, count in sorted(draws.left_out.items()):
        click.echo(f"  {count:>4}  {why}")
    click.echo("sizes:  round, process, MB, descriptors, threads, Python objects, PySyft's store")
    for number, sizes in draws.sizes:
        for process, size in sizes.items():
            numbers = (size.descriptors, size.threads, size.objects, size.stored)
            cells = "".join(f"{value:>9}" for value in numbers)
            click.echo(f"  {number:>6}  {process:<12} {size.memory:>8.1f}{cells}")


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"), context_settings=HELP)
@click.option("--rounds", type=click.IntRange(min=10), default=1000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--secure-aggregation", is_flag=True, help="Five nodes, whose sums alone are seen.")
def main(rounds: int, seed: int, secure_aggregation: bool) -> int:
    logging.getLogger("syft").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        names = (*SURVIVORS, *(MORE_SURVIVORS if secure_aggregation else ()), VICTIM)
        split_data(find_data(), folder / "shards", names, partition="iid", seed=0)
        identity = make_identities(folder, names) if secure_aggregation else None
        flags = {name: _flags(folder / "shards", name) for name in names}
        if secure_aggregation:
            flags = {name: (*flags[name], "--identity", str(folder / name)) for name in names}
        nodes: dict[str, LocalNode] = {}
        stack.callback(lambda: [node.stop() for node in nodes.values()])
        for name in names:
            nodes[name] = _start(name, flags[name])
        lines = {name: stack.enter_context(line_to(nodes[name].url)) for name in names}
        draws = Soak(random.Random(seed), lines, nodes, flags, rounds)  # noqa: S311 - by intent
        started = time.monotonic()
        path = asyncio.run(soak(draws, folder / "runs", identity))
        report(draws, path, time.monotonic() - started)
    grown = growth(draws)
    click.echo("\n".join(["GREW:", *grown]) if grown else "nothing has grown")
    return 1 if grown else 0


def _flags(shards: Path, name: str) -> tuple[str, ...]:
    held_out = str(shards / f"{name}.held-out.tsv")
    held = ("--data", str(shards / f"{name}.train.tsv"), "--held-out-data", held_out)
    return (*held, "--heartbeat", "2", "--keep-work", "2")


if __name__ == "__main__":
    run(main, "python scripts/chaos.py")
