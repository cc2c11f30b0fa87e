"""What more messages cost one owner, and whoever filters: `scripts/benchmark.py shard`.

The messages are those of the collection with three words of each exchanged, so that none is often
there twice. A node is started on them as an owner would, trained on, and its processes are looked
at. Other work on the machine lengthens the clock; processor time hardly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import click
import numpy as np

from scripts.benchmarks.runs import children, peak_memory
from scripts.fetch_data import find_data
from scripts.local.nodes import NO_SETTINGS, ROOT, clean_environment
from shared.errors import NodeFailed
from worker_node.data.packed_messages import Message
from worker_node.training.forked import TITLE

TICKS = os.sysconf("SC_CLK_TCK")
EXCHANGED = 3
PREDICTED = 20_000


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processor, peaks in bytes, and messages a second.

    ready: from `serve` to its address. first_round, round: of the node, until the coordinator has
    the round's end; round is the mean of those after the first. scored: of a held-out row, as the
    node tells it, in the rounds after the first.
    """

    rows: int
    ready: float
    ready_processor: float
    first_round: float
    round: float
    scored: float
    node_peak: int
    trainer_peak: int
    predicted: float


@click.command()
@click.option(
    "--rows", "numbers", multiple=True, type=int, default=(2_000, 20_000, 200_000, 1_000_000)
)
@click.option("--recipe", default="default", show_default=True)
@click.option("--rounds", type=click.IntRange(2, 1000), default=3, show_default=True)
@click.option(
    "--against",
    "root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=ROOT,
    help="Measures another checkout instead of this one.",
)
def shard(numbers: tuple[int, ...], recipe: str, rounds: int, root: Path) -> None:
    """One owner with more and more messages."""
    click.echo(
        "| messages | s to ready | of the processor | first round, s | a later one, s | "
        "a row scored, µs | node, MB | training process, MB | `predict`, messages a second |"
    )
    click.echo("|---" * 9 + "|")
    costs = []
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        for number in numbers:
            file = make_messages(Path(scratch) / f"messages-{number}.tsv", number)
            costs.append(_measured(root.resolve(), file, number, recipe, rounds, Path(scratch)))
            _say(costs[-1])
            file.unlink()
    if len(costs) > 1:
        _say_slope(costs[0], costs[-1])


def make_messages(path: Path, number: int) -> Path:
    """Writes so many messages, the same whenever it is asked for; returns the path."""
    lines = find_data().read_text(encoding="utf-8").split("\n")
    rows = [line.split("\t", 1) for line in lines if "\t" in line]
    messages = [Message(int(label == "spam"), text) for label, text in rows]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for one in exchanged(messages, number, number):
            file.write(f"{('ham', 'spam')[one.label]}\t{one.text}\n")
    return path


def exchanged(rows: Sequence[Message], number: int, seed: int) -> Iterator[Message]:
    """So many of the rows, drawn anew each time, with EXCHANGED words of each replaced by some of
    theirs."""
    words = [word for one in rows for word in one.text.split()]
    chosen = np.random.default_rng(seed)
    for _ in range(number):
        one = rows[int(chosen.integers(len(rows)))]
        parts = one.text.split(" ")
        for place, word in chosen.integers((len(parts), len(words)), size=(EXCHANGED, 2)):
            parts[place] = words[word]
        yield Message(one.label, " ".join(parts))


def _measured(root: Path, data: Path, rows: int, recipe: str, rounds: int, scratch: Path) -> Cost:
    listen = ("--id", "bob", "--data", data, "--port", 0, "--json", "--insecure")
    flags = (*listen, "--policy", root / "scripts" / "unguarded.toml", "--audit-log", "off")
    began = time.perf_counter()
    node = _started(root, "worker_node", "serve", *flags)
    try:
        assert node.stdout is not None
        line = node.stdout.readline()
        if not line:
            raise NodeFailed("the node did not start")
        ready, used = time.perf_counter() - began, _processor_seconds(node.pid)
        runs = scratch / "runs"
        more = ("--node", f"bob={json.loads(line)['url']}", "--rounds", rounds, "--run-dir", runs)
        train = _started(root, "server", "train", "--recipe", recipe, "--json", *NO_SETTINGS, *more)
        output = train.communicate()[0]
        if train.returncode:
            raise NodeFailed(f"the training ended with exit code {train.returncode}")
        *told, last = map(json.loads, output.splitlines())
        seconds = [one["seconds"] for one in told if one["node"] == "*"]
        scored = mean(
            one["seconds_evaluating"] / one["held_out_rows"]
            for one in told
            if one["node"] == "bob" and one["round"] > 1
        )
        (trainer,) = (one for one in children(node.pid) if _is_trainer(one))
        node_peak, trainer_peak = peak_memory(node.pid), peak_memory(trainer)
    finally:
        node.terminate()
        node.communicate()
    predicted = _predicted(root, data, Path(last["run"]), min(rows, PREDICTED))
    later = mean(seconds[1:])
    return Cost(rows, ready, used, seconds[0], later, scored, node_peak, trainer_peak, predicted)


def _started(root: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


def _is_trainer(pid: int) -> bool:
    """By its title where it was forked, as the first one is, and else by its command line."""
    title, line = (Path(f"/proc/{pid}/{name}").read_text() for name in ("comm", "cmdline"))
    return title.strip() == TITLE or "training.trainer" in line


def _processor_seconds(pid: int) -> float:
    """Of a process and its children so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / TICKS
    return own + sum(map(_processor_seconds, children(pid)))


def _predicted(root: Path, data: Path, model: Path, rows: int) -> float:
    """Messages that `predict` reads a second of the processor, start and end included."""
    with data.open(encoding="utf-8") as file:
        texts = "".join(line.partition("\t")[2] for line, _ in zip(file, range(rows), strict=False))
    before = os.times()
    command = [sys.executable, "-m", "server", "predict", "--model", str(model)]
    subprocess.run(
        command, cwd=root, env=clean_environment(), input=texts, text=True, capture_output=True,
        check=True,
    )  # fmt: skip
    after = os.times()
    used = after.children_user + after.children_system
    return rows / (used - before.children_user - before.children_system)


def _say(cost: Cost) -> None:
    click.echo(
        f"| {cost.rows:,} | {cost.ready:.1f} | {cost.ready_processor:.1f} | {cost.first_round:.1f} "
        f"| {cost.round:.1f} | {1e6 * cost.scored:.0f} | {cost.node_peak / 1e6:.0f} "
        f"| {cost.trainer_peak / 1e6:.0f} | {cost.predicted:,.0f} |"
    )


def _say_slope(first: Cost, last: Cost) -> None:
    more = last.rows - first.rows
    ready = (last.ready_processor - first.ready_processor) / more * 1e6
    node, trainer = last.node_peak - first.node_peak, last.trainer_peak - first.trainer_peak
    click.echo(
        f"\nEach message more takes {ready:.0f} µs of the processor until the node is ready, "
        f"{node / more:.0f} bytes of the node and {trainer / more:.0f} of its training process."
    )
