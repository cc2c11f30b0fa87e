"""What more nodes cost the coordinator: `scripts/benchmark.py scale`.

The nodes share one process and one training process (scripts/local/many_nodes.py), so a round's
wall clock is theirs; the coordinator is a process of its own, whose processor time and peak memory
are measured. Two runs of different length tell a round's share from the start's.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from scripts.fetch_data import find_data
from scripts.local.nodes import NO_SETTINGS, ROOT, clean_environment
from scripts.split_data import owner_names, split_data
from shared.errors import NodeFailed
from shared.model.recipe import BUILT_IN

SHORT, LONG = 1, 9
"""Rounds of the two runs."""


@dataclass(frozen=True)
class Cost:
    """One run of the coordinator: processor seconds, peak memory in bytes, its metrics."""

    seconds: float
    memory: int
    rows: list[dict[str, object]]


@contextlib.contextmanager
def many_nodes(shards: Path, names: Sequence[str], *flags: str) -> Iterator[dict[str, str]]:
    """Nodes in one process of their own; gives their addresses."""
    chosen = [part for name in names for part in ("--node", name)]
    command = [
        sys.executable,
        "scripts/local/many_nodes.py",
        "--shards",
        str(shards),
        *chosen,
        *flags,
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise NodeFailed("the nodes did not start")
        yield json.loads(line)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def coordinator(urls: dict[str, str], recipe: str, folder: Path, *flags: str) -> Cost:
    """Trains as a user would. Raises NodeFailed where that ends with an error."""
    nodes = [part for name, url in urls.items() for part in ("--node", f"{name}={url}")]
    command = [sys.executable, "-m", "server", "train", "--json", "--recipe", recipe]
    command += ["--run-dir", str(folder), *NO_SETTINGS, *nodes, *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise NodeFailed(f"the training ended with exit code {process.returncode}")
    rows = [json.loads(line) for line in lines]
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, rows)


def quick_recipe(folder: Path) -> str:
    """The default recipe's model with hardly any training: the nodes are not what is measured."""
    text = (BUILT_IN / "default.toml").read_text(encoding="utf-8")
    path = folder / "scale.toml"
    path.write_text(text.replace("max_batches = 64", "max_batches = 1"), encoding="utf-8")
    return str(path)


@click.command()
@click.option("--nodes", "counts", multiple=True, type=int, default=(2, 10, 30, 100))
@click.option("--cohort", type=int, default=0, help="Nodes drawn for each round; 0 asks all.")
@click.option("--aggregation", default="fedavg", show_default=True)
def scale(counts: tuple[int, ...], cohort: int, aggregation: str) -> None:
    """Processor time and peak memory of the coordinator with more and more nodes."""
    click.echo("nodes   wall s a round   processor s a round   peak memory MB   MB moved a round")
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch)
        recipe = quick_recipe(folder)
        for count in counts:
            names = owner_names(count)
            shards = folder / f"shards-{count}"
            split_data(find_data(), shards, names, partition="iid", seed=0)
            with many_nodes(shards, names) as urls:
                flags = ["--aggregation", aggregation, "--cohort", str(cohort)]
                short, long = (
                    coordinator(urls, recipe, folder / "runs", "--rounds", str(rounds), *flags)
                    for rounds in (SHORT, LONG)
                )
            _say(count, short, long)


def _say(count: int, short: Cost, long: Cost) -> None:
    totals = [row for row in long.rows if row.get("node") == "*"]
    wall = sum(float(str(row["seconds"])) for row in totals[1:]) / len(totals[1:])
    moved = [int(str(row["bytes_sent"])) + int(str(row["bytes_received"])) for row in totals[1:]]
    processor = (long.seconds - short.seconds) / (LONG - SHORT)
    click.echo(
        f"{count:>5}   {wall:>14.2f}   {processor:>19.3f}   {long.memory / 1e6:>14.0f}   "
        f"{sum(moved) / len(moved) / 1e6:>16.1f}"
    )
