"""What noise costs a round: `scripts/benchmark.py private-rounds`.

Nodes and coordinator as in secure_rounds.py, with the `default` recipe and the `private` one, each
in the clear and in secure sums, in turns. A private round is one step over all rows of the wide
part alone; a plain one is an epoch of the whole model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click

from scripts.benchmarks.scale import Cost, coordinator, many_nodes
from scripts.benchmarks.secure_rounds import ROUNDS, seconds_a_round
from scripts.fetch_data import find_data
from scripts.local.identities import make_identities
from scripts.split_data import owner_names, split_data

PLAIN = ("default", "off")
RUNS = (PLAIN, ("default", "on"), ("private", "off"), ("private", "on"))
"""Recipe, and whether sums are secure; two owners have none."""


@click.command()
@click.option("--nodes", "counts", multiple=True, type=click.IntRange(2), default=(2, 10))
@click.option("--repeat", default=3, show_default=True, type=click.IntRange(1))
def private_rounds(counts: tuple[int, ...], repeat: int) -> None:
    """Seconds of a private round, against a plain one."""
    click.echo("| nodes | recipe | secure sums | a round, s | of a plain round |")
    click.echo("|---" * 5 + "|")
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
            for (recipe, secure), costs in _measured(Path(scratch), count, repeat).items():
                click.echo(f"| {count} | `{recipe}` | {secure} | {costs[0]:.2f} | {costs[1]:.2f} |")


def _measured(folder: Path, count: int, repeat: int) -> dict[tuple[str, str], tuple[float, float]]:
    """Recipe and sums -> seconds a round, and of a plain one in the same turn."""
    names: Sequence[str] = owner_names(count)
    split_data(find_data(), folder / "shards", names, partition="iid", seed=0)
    identity = ("--identity", str(make_identities(folder, names)))
    serving = ("--identities", str(folder), "--fewest-owners", str(min(3, count)))
    costs: dict[tuple[str, str], list[Cost]] = {one: [] for one in RUNS}
    with many_nodes(folder / "shards", names, *serving) as urls:
        for _ in range(repeat):
            for (recipe, secure), found in costs.items():
                flags = ("--secure-aggregation", secure, *_rounds(recipe))
                found.append(coordinator(urls, recipe, folder / "runs", *flags, *identity))
    plain = [seconds_a_round(one) for one in costs[PLAIN]]
    return {
        which: (
            median(seconds := [seconds_a_round(one) for one in found]),
            median(one / before for one, before in zip(seconds, plain, strict=True)),
        )
        for which, found in costs.items()
    }


def _rounds(recipe: str) -> tuple[str, ...]:
    """A private run has as many rounds as its recipe says, for its noise is made for these."""
    return () if recipe == "private" else ("--rounds", str(ROUNDS))
