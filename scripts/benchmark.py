"""Measures fedsms on this machine, on real messages, over real sockets.

    python scripts/benchmark.py rounds                      # speed, bytes, memory
    python scripts/benchmark.py accuracy --owners 2 --owners 10
    python scripts/benchmark.py pointers                    # batch by batch, against PySyft's own
    python scripts/benchmark.py scale                       # more and more nodes
    python scripts/benchmark.py robust                      # one bad owner of ten
    python scripts/benchmark.py strategies                  # FedProx and server optimisers
    python scripts/benchmark.py worth                       # what joining is worth to an owner
    python scripts/benchmark.py page                        # what a live page costs a run
    python scripts/benchmark.py secure-aggregation          # keys, masks and bytes of a secure sum
    python scripts/benchmark.py secure-rounds               # rounds with secure sums, and without
    python scripts/benchmark.py neighbours                  # how few could mask with each other
    python scripts/benchmark.py leak                        # what a coordinator can tell of words
    python scripts/benchmark.py privacy                     # accuracy by epsilon, in one process
    python scripts/benchmark.py owner-privacy               # the same where the unit is an owner
    python scripts/benchmark.py private-rounds              # rounds with noise, and without
    python scripts/benchmark.py privacy-audit               # attacks, and epsilon that they prove
    python scripts/benchmark.py receipts                    # what leak receipts cost, and say
    python scripts/benchmark.py encrypted                   # predictions on shares
    python scripts/benchmark.py shard                       # one owner's messages, to a million
    python scripts/benchmark.py encoding                    # ids of a message, and its verdict
    python scripts/benchmark.py more-batches                # more steps a round, of many messages
    python scripts/benchmark.py startup                     # until a node is ready, until a round
    python scripts/benchmark.py images                      # what nodes of two images cost to start
    python scripts/benchmark.py taking-part                 # until a node that dials out takes part

Machines are noisy: everything is measured beside a reference, in turns, and told as medians and
ratios.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any, get_args

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.benchmarks.encoding import encoding
from scripts.benchmarks.encrypted import encrypted
from scripts.benchmarks.images import images
from scripts.benchmarks.leak import leak
from scripts.benchmarks.more_batches import more_batches
from scripts.benchmarks.neighbours import neighbours
from scripts.benchmarks.owner_privacy import owner_privacy
from scripts.benchmarks.page import page
from scripts.benchmarks.pointers import pointer_accuracy, pointer_soak, pointers
from scripts.benchmarks.privacy import privacy
from scripts.benchmarks.privacy_audit import privacy_audit
from scripts.benchmarks.private_rounds import private_rounds
from scripts.benchmarks.receipts import receipts
from scripts.benchmarks.robust import robust
from scripts.benchmarks.runs import (
    TrainedRun,
    centralised,
    children,
    make_shards,
    peak_memory,
    spread,
    train,
)
from scripts.benchmarks.scale import scale
from scripts.benchmarks.secure_aggregation import secure_aggregation
from scripts.benchmarks.secure_rounds import secure_rounds
from scripts.benchmarks.shard import shard
from scripts.benchmarks.startup import startup
from scripts.benchmarks.strategies import strategies
from scripts.benchmarks.taking_part import taking_part
from scripts.benchmarks.worth import worth
from scripts.data.partition import Partition
from scripts.local.nodes import LocalNode, local_nodes
from scripts.needs import need
from scripts.split_data import Remove
from shared.cli import run

PLAIN = "scripts/benchmarks/centralised.py"
SVM = "scripts/benchmarks/centralised_svm.py"


@click.group(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
def main() -> None:
    pass


for _command in (
    pointers,
    pointer_accuracy,
    pointer_soak,
    scale,
    robust,
    strategies,
    worth,
    page,
    secure_aggregation,
    secure_rounds,
    neighbours,
    startup,
    images,
    taking_part,
    encoding,
    shard,
    more_batches,
    leak,
    privacy,
    owner_privacy,
    private_rounds,
    privacy_audit,
    receipts,
    encrypted,
):
    main.add_command(_command)


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
@click.option("--deduplicate", "remove", type=click.Choice(get_args(Remove)))
@click.option("--keep-together", is_flag=True, help="Near-duplicates never on both sides.")
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
    remove: Remove | None,
    keep_together: bool,
    compare: str | None,
) -> None:
    """Metrics after the last round: mean and standard deviation over seeds."""
    if compare == "svm":
        need("sklearn")
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        for owners in counts:
            results, central = [], []
            for seed in range(first_seed, first_seed + seeds):
                shards = make_shards(Path(scratch), owners, partition, seed, remove, keep_together)
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
    figures = {label: [100 * result[name] for result in results] for name, label in names.items()}
    figures["MCC"] = [100 * _matthews(result) for result in results]
    return "  ".join(f"{label} {_mean(values)} %" for label, values in figures.items())


def _matthews(result: dict[str, Any]) -> float:
    """Matthews' correlation coefficient (B. W. Matthews, 1975); 0 where it is not defined."""
    if "mcc" in result:
        return float(result["mcc"])
    names = ("true_positives", "true_negatives", "false_positives", "false_negatives")
    tp, tn, fp, fn = (result[name] for name in names)
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return float((tp * tn - fp * fn) / below**0.5) if below else 0.0


def _mean(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


if __name__ == "__main__":
    run(main, "python scripts/benchmark.py")
