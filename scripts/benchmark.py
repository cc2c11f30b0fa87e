"""Measures fedsms on this machine, on real messages, over real sockets.

    python scripts/benchmark.py rounds                      # speed, bytes, memory
    python scripts/benchmark.py accuracy --owners 2 --owners 10

Machines are noisy: everything is measured beside a reference, in turns, and told as medians and
ratios.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any, get_args

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.fetch_data import find_data
from scripts.local_nodes import (
    NO_SETTINGS,
    ROOT,
    LocalNode,
    clean_environment,
    local_nodes,
)
from scripts.partition import Partition
from scripts.split_data import owner_names, split_data
from shared.cli import run
from shared.errors import NodeFailed

PLAIN = "scripts/centralised.py"
SVM = "scripts/centralised_svm.py"


@dataclass(frozen=True)
class Shards:
    """Owners' files in a folder, as scripts/split_data.py writes them."""

    folder: Path
    names: tuple[str, ...]

    def files(self, part: str) -> list[Path]:
        return [self.folder / f"{name}.{part}.tsv" for name in self.names]

    def node_commands(self) -> dict[str, tuple[str, ...]]:
        parts = zip(self.names, self.files("train"), self.files("held-out"), strict=True)
        return {
            name: ("--data", str(train), "--held-out-data", str(held_out))
            for name, train, held_out in parts
        }


def make_shards(scratch: Path, owners: int, partition: Partition, seed: int) -> Shards:
    names = owner_names(owners)
    folder = scratch / f"{partition}-{owners}-{seed}"
    split_data(find_data(), folder, names, partition=partition, seed=seed)
    return Shards(folder, tuple(names))


@dataclass(frozen=True)
class TrainedRun:
    """A run of `python -m server train`.

    rows: of its metrics.jsonl. summary: its summary.json. peak_memory: of the coordinator, bytes.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    peak_memory: int

    @property
    def totals(self) -> list[dict[str, Any]]:
        """The row of each round that speaks for all nodes."""
        return [row for row in self.rows if row["node"] == "*"]


def train(nodes: list[LocalNode], recipe: str, seed: int, scratch: Path) -> TrainedRun:
    """Trains as a user would. Raises NodeFailed where that ends with an error."""
    flags = [part for node in nodes for part in ("--node", node.flag)]
    flags += ["--recipe", recipe, "--seed", str(seed), "--run-dir", str(scratch), "--json"]
    flags += NO_SETTINGS
    command = [sys.executable, "-m", "server", "train", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise NodeFailed(f"the training ended with exit code {process.returncode}")
    *rows, last = map(json.loads, lines)
    summary = json.loads((Path(last["run"]) / "summary.json").read_text())
    return TrainedRun(rows, summary, usage.ru_maxrss * 1024)


def centralised(shards: Shards, *script: str) -> dict[str, Any]:
    """What a script prints that trains on the same rows in one place."""
    flags = [part for path in shards.files("train") for part in ("--data", str(path))]
    flags += [part for path in shards.files("held-out") for part in ("--held-out-data", str(path))]
    command = [sys.executable, *script, *flags]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def peak_memory(pid: int) -> int:
    """Largest resident memory of a running process so far, in bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise NodeFailed(f"process {pid} does not say its peak memory")


def children(pid: int) -> list[int]:
    """Process ids of a process's children (Linux)."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def spread(values: list[float], form: str = ".3f") -> str:
    """Median, and in brackets the least and the most."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


@click.group(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
def main() -> None:
    pass


@main.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--owners", type=click.IntRange(1, 64), default=2, show_default=True)
def rounds(repeat: int, owners: int) -> None:
    """15 rounds of the tutorial recipe against 15 epochs of plain centralised PyTorch."""
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        shards = make_shards(Path(scratch), owners, "article", seed=0)
        with local_nodes(shards.node_commands()) as nodes:
            runs, references = [], []
            for number in range(1, repeat + 1):
                references.append(centralised(shards, PLAIN, "--seed", str(number)))
                runs.append(train(nodes, "tutorial", number, Path(scratch)))
                click.echo(f"{number} of {repeat} measured", err=True)
            _say_speed(runs, references)
            _say_bytes(runs, owners)
            _say_memory(runs, nodes)


def _say_speed(runs: list[TrainedRun], references: list[dict[str, Any]]) -> None:
    ours = [run.summary["seconds_in_rounds"] for run in runs]
    plain = [reference["seconds"] for reference in references]
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    outside = [row["seconds_outside_training"] for run in runs for row in run.totals]
    click.echo("Medians, with the least and the most:")
    click.echo(f"  15 epochs of plain centralised PyTorch, 1 thread   {spread(plain)} s")
    click.echo(f"  15 rounds                                          {spread(ours)} s")
    click.echo(f"  ratio, pair by pair                                {spread(ratios)}")
    milliseconds = [1000 * seconds for seconds in outside]
    click.echo(
        f"  outside local training, a round                    {spread(milliseconds, '.0f')} ms"
    )


def _say_bytes(runs: list[TrainedRun], owners: int) -> None:
    model = runs[0].summary["model_bytes"]
    moved = [row["bytes_sent"] + row["bytes_received"] for run in runs for row in run.totals]
    each = mean(moved)
    click.echo(f"  bytes a round, mean over the run                   {each:,.0f}")
    ratio = each / (2 * owners * model)
    click.echo(f"    as a share of 2 x {owners} owners x {model:,} of the model: {ratio:.3f}")


def _say_memory(runs: list[TrainedRun], nodes: list[LocalNode]) -> None:
    click.echo("Peak memory, MB:")
    click.echo(f"  coordinator    {max(run.peak_memory for run in runs) / 1e6:.0f}")
    for node in nodes:
        trainer = sum(peak_memory(child) for child in children(node.process.pid))
        click.echo(
            f"  node {node.id:<9} {peak_memory(node.process.pid) / 1e6:.0f}, "
            f"and its training process {trainer / 1e6:.0f}"
        )


@main.command()
@click.option("--owners", "counts", multiple=True, type=click.IntRange(1, 64), default=(2, 10))
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--first-seed", type=click.IntRange(0, 10**6), default=1, show_default=True)
@click.option("--recipe", default="default", show_default=True)
@click.option("--partition", type=click.Choice(get_args(Partition)), default="iid")
@click.option(
    "--compare",
    type=click.Choice(["plain", "svm"]),
    help="Also train on all rows in one place: the same recipe in plain PyTorch (the tutorial "
    "alone), or TF-IDF and a linear SVM.",
)
def accuracy(
    counts: tuple[int, ...],
    seeds: int,
    first_seed: int,
    recipe: str,
    partition: Partition,
    compare: str | None,
) -> None:
    """Metrics after the last round: mean and standard deviation over seeds."""
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        for owners in counts:
            results, central = [], []
            for seed in range(first_seed, first_seed + seeds):
                shards = make_shards(Path(scratch), owners, partition, seed)
                with local_nodes(shards.node_commands()) as nodes:
                    trained = train(nodes, recipe, seed, Path(scratch))
                results.append(trained.summary["metrics"])
                click.echo(f"{owners} owners, seed {seed}: {_figures([results[-1]])}", err=True)
                if compare == "svm":
                    central.append(centralised(shards, SVM))
                elif compare == "plain":
                    script = (PLAIN, "--recipe", recipe, "--seed", str(seed))
                    central.append(centralised(shards, *script))
            last = first_seed + seeds - 1
            what = f"{recipe}, {partition}, {owners} owners, seeds {first_seed} to {last}"
            click.echo(f"{what}: {_figures(results)}")
            if compare:
                click.echo(f"  {compare}, on the same rows in one place: {_figures(central)}")


def _figures(results: list[dict[str, Any]]) -> str:
    names = {"roc_auc": "AUC", "average_precision": "AP", "f1": "F1"}
    return "  ".join(
        f"{label} {_mean([100 * result[name] for result in results])} %"
        for name, label in names.items()
    )


def _mean(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    run(main, "python scripts/benchmark.py")
