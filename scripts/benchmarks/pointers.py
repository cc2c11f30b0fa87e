"""`benchmark.py pointers` and its companions: what pointers cost, learn and leave."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import click

from scripts.benchmarks.runs import Shards, TrainedRun, make_shards, spread, train
from scripts.local.nodes import ROOT, LocalNode, clean_environment, local_nodes
from scripts.needs import need
from shared.errors import NodeFailed

BATCHES = "scripts/benchmarks/pointer_batches.py"
NAMES = {
    "virtual": "(a) VirtualWorkers, one process",
    "stock": "(b) PySyft's own classes, sockets",
    "waiting": "a node, each operation waited for",
    "node": "a node",
    "replay": "a node, the step replayed",
}
# the article's notebook
ARTICLE = {1: 73.8, 5: 93.1, 10: 97.1, 15: 97.5}
ALLOWED = ("--allow", "pointers")


def allowing(shards: Shards) -> dict[str, tuple[str, ...]]:
    return {name: (*flags, *ALLOWED) for name, flags in shards.node_commands().items()}


def measure(how: str, batches: int, data: Path, node: LocalNode) -> dict[str, Any]:
    """What scripts/benchmarks/pointer_batches.py tells. Raises NodeFailed where it fails."""
    flags = ["--how", how, "--batches", str(batches), "--data", str(data), "--node", node.flag]
    done = subprocess.run(
        [sys.executable, BATCHES, *flags],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NodeFailed(f"{how} ended with exit code {done.returncode}", done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@click.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--batches", type=click.IntRange(3, 1000), default=30, show_default=True)
@click.option(
    "--stock-batches",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Of PySyft's own classes, which are slow; 0 leaves them out.",
)
@click.option("--audit-log", is_flag=True, help="The node writes its log, as it does by default.")
def pointers(repeat: int, batches: int, stock_batches: int, audit_log: bool) -> None:
    """The article's training batch by batch: against VirtualWorkers and PySyft's own sockets."""
    if stock_batches:
        need("websocket")  # PySyft's own client speaks over it
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        shards = make_shards(Path(scratch), 2, "article", seed=0)
        told: dict[str, list[dict[str, Any]]] = {how: [] for how in NAMES}
        commands = allowing(shards)
        if audit_log:
            for name, flags in commands.items():
                commands[name] = (*flags, "--audit-log", str(Path(scratch) / f"{name}.jsonl"))
        with local_nodes(commands) as nodes:
            for turn in range(repeat):
                for how in NAMES:
                    number = min(batches, 10) if how == "waiting" else batches
                    number = stock_batches if how == "stock" else number
                    if number:
                        told[how].append(measure(how, number, shards.files("train")[0], nodes[0]))
                click.echo(f"{turn + 1} of {repeat} measured", err=True)
        _say(told)


def _say(told: dict[str, list[dict[str, Any]]]) -> None:
    click.echo("Seconds a batch of 32: median, with the least and the most; means of the rest:")
    virtual = [median(run["seconds"]) for run in told["virtual"]]
    losses = told["virtual"][0]["losses"]
    for how, runs in told.items():
        if not runs:
            continue
        seconds = [one for run in runs for one in run["seconds"]]
        messages = mean(one for run in runs for one in run["messages"])
        size = mean(one for run in runs for one in run["bytes"]) / 1e6
        ratios = [median(run["seconds"]) / base for run, base in zip(runs, virtual, strict=True)]
        same = all(run["losses"] == losses[: len(run["losses"])] for run in runs)
        click.echo(
            f"  {NAMES[how]:<36} {spread(seconds)} s  {messages:6,.0f} messages  {size:6.3f} MB  "
            f"{median(ratios):5.2f} x (a)  losses {'equal' if same else 'DIFFER'}"
        )


@click.command()
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--first-seed", type=click.IntRange(0, 10**6), default=1, show_default=True)
def pointer_accuracy(seeds: int, first_seed: int) -> None:
    """The article's split through pointers: AUC over epochs, beside the article's own."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        for seed in range(first_seed, first_seed + seeds):
            shards = make_shards(Path(scratch), 2, "article", seed)
            with local_nodes(allowing(shards)) as nodes:
                flags = ("--mode", "pointers", "--replay")
                runs.append(train(nodes, "tutorial", seed, Path(scratch), *flags))
            last = runs[-1].totals[-1]
            click.echo(f"seed {seed}: AUC {100 * last['held_out_roc_auc']:.2f} %", err=True)
    _say_curve(runs)


def _say_curve(runs: list[TrainedRun]) -> None:
    click.echo("epoch   train loss   AUC %            article's AUC %")
    for index in range(len(runs[0].totals)):
        rows = [run.totals[index] for run in runs]
        aucs = [100 * row["held_out_roc_auc"] for row in rows]
        deviation = f"± {stdev(aucs):.2f}" if len(aucs) > 1 else ""
        loss = mean(row["loss"] for row in rows)
        article = ARTICLE.get(index + 1, "")
        click.echo(f"{index + 1:>5}   {loss:>10.4f}   {mean(aucs):.2f} {deviation:<8}   {article}")
    seconds = [row["seconds"] for run in runs for row in run.totals]
    click.echo(f"seconds an epoch: {spread(seconds)}")


@click.command()
@click.option("--batches", type=click.IntRange(100), default=1000, show_default=True)
@click.option("--replay", is_flag=True, help="Replay the step.")
def pointer_soak(batches: int, replay: bool) -> None:
    """Objects and memory on both sides over many batches: they should be flat."""
    from scripts.benchmarks.pointer_soak import soak

    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        shards = make_shards(Path(scratch), 2, "article", seed=0)
        with local_nodes(allowing(shards)) as nodes:
            for line in soak(nodes[0], batches, replay):
                click.echo(line)
