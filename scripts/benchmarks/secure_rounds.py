"""What secure aggregation costs a round: `scripts/benchmark.py secure-rounds`.

The same nodes, with TLS, in one process that shares one training process
(scripts/local/many_nodes.py), and a coordinator in a process of its own, with secure sums and
without, in turns. All nodes and the coordinator share this machine's processors, so what owners
would do side by side is done one after another: the ratio is that of the whole work.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click

from scripts.benchmarks.scale import Cost, coordinator, many_nodes
from scripts.fetch_data import find_data
from scripts.local.identities import make_identities
from scripts.split_data import owner_names, split_data
from shared.model.recipe import load_recipe

ROUNDS = 5


@click.command()
@click.option("--nodes", "counts", multiple=True, type=int, default=(2, 10, 30, 100))
@click.option("--recipe", default="default", show_default=True)
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1))
def secure_rounds(counts: tuple[int, ...], recipe: str, repeat: int) -> None:
    """Seconds and bytes of a round with secure aggregation, against one without."""
    click.echo(
        "| nodes | a round, s | without, s | ratio | up a node, of a dense model "
        "| coordinator's peak MB | without |"
    )
    click.echo("|---" * 7 + "|")
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
            _measure(Path(scratch), owner_names(count), recipe, repeat)


def _measure(folder: Path, names: Sequence[str], recipe: str, repeat: int) -> None:
    split_data(find_data(), folder / "shards", names, partition="iid", seed=0)
    identity = str(make_identities(folder, names))
    least = str(min(3, len(names)))
    serving = ("--identities", str(folder), "--fewest-owners", least)
    with many_nodes(folder / "shards", names, *serving) as urls:
        costs: dict[str, list[Cost]] = {"on": [], "off": []}
        for _ in range(repeat):
            for wanted, found in costs.items():
                flags = ("--secure-aggregation", wanted, "--rounds", str(ROUNDS))
                where = ("--identity", identity)
                found.append(coordinator(urls, recipe, folder / "runs", *flags, *where))
    _say(len(names), costs["on"], costs["off"], 4 * load_recipe(recipe).parameters)


def _say(count: int, secure: list[Cost], plain: list[Cost], model_bytes: int) -> None:
    seconds, before = (median(map(seconds_a_round, some)) for some in (secure, plain))
    up = median(_totals(one)[-1]["bytes_received"] for one in secure) / count / model_bytes
    memory, without = (median(one.memory for one in some) / 1e6 for some in (secure, plain))
    click.echo(
        f"| {count} | {seconds:.2f} | {before:.2f} | {seconds / before:.2f} | {up:.2f} "
        f"| {memory:.0f} | {without:.0f} |"
    )


def _totals(cost: Cost) -> list[dict[str, float]]:
    return [
        {name: float(str(row[name])) for name in ("seconds", "bytes_received")}
        for row in cost.rows
        if row.get("node") == "*"
    ]


def seconds_a_round(cost: Cost) -> float:
    """Without the first, which also sends the model; a median."""
    return median(row["seconds"] for row in _totals(cost)[1:])
