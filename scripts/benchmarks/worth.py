"""What joining is worth to an owner: `scripts/benchmark.py worth`.

Each owner's model, trained alone, beside the federated one, on the owner's own held-out rows, as
`python -m server train --compare` has nodes do it. All is done in one process, one after another,
which gives the bits of rounds over sockets.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

import click
import torch

from scripts.benchmarks.strategies import federated_state, owners_of
from scripts.data.partition import Partition
from scripts.fetch_data import find_data
from scripts.local.many_nodes import read_shard
from scripts.split_data import owner_names, split_data
from server.display.comparison_table import NAMES, gain_words
from server.display.words import percent
from server.rounds.comparison import Comparison, OwnerGains
from server.rounds.plan import node_seed
from shared.model.comparison import FIGURES, Gain, gains_of
from shared.model.recipe import Recipe, load_recipe
from worker_node.training.alone import against, train_alone
from worker_node.training.secret_seed import mixed_seed

SEED = 1


@click.command(help=__doc__)
@click.option("--owners", "counts", multiple=True, type=int, default=(2, 10), show_default=True)
@click.option(
    "--partition",
    "partitions",
    multiple=True,
    type=click.Choice(get_args(Partition)),
    default=("iid", "dirichlet"),
    show_default=True,
)
@click.option("--recipe", default="default", show_default=True)
@click.option("--alpha", default=0.3, show_default=True, help="Of the Dirichlet partition.")
@click.option("--seed", default=0, show_default=True, help="Of the dealing.")
def worth(
    counts: tuple[int, ...],
    partitions: tuple[Partition, ...],
    recipe: str,
    alpha: float,
    seed: int,
) -> None:
    torch.set_num_threads(1)
    loaded = load_recipe(recipe)
    click.echo("| owners | figure | alone | federated | gain | better, worse | worst-off |")
    click.echo("|---|---|---|---|---|---|---|")
    for partition in partitions:
        for count in counts:
            found = _compared(count, partition, alpha, seed, loaded)
            name = f"Dirichlet {alpha:g}" if partition == "dirichlet" else partition
            _say(f"{count}, {name}", found)


def _compared(
    count: int, partition: Partition, alpha: float, seed: int, recipe: Recipe
) -> Comparison:
    names = owner_names(count)
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch) / "shards"
        split_data(find_data(), folder, names, partition=partition, alpha=alpha, seed=seed)
        shards = {name: read_shard(folder, name) for name in names}
    owners = owners_of(shards, recipe, tune=False)
    federated, rounds = federated_state(owners, recipe, SEED), recipe.federation.rounds
    gains = {}
    for name, held_out in zip(names, owners.measured, strict=True):
        secret, own = owners.secrets[name], node_seed(SEED, name, 0)

        def seed_of(number: int, secret: bytes = secret, own: int = own) -> int:
            return mixed_seed(secret, (own + number) % 2**63)

        alone = train_alone(*owners.train[name], recipe, rounds, SEED, seed_of, seed_of(0))
        found = against(alone, federated, *held_out, recipe, mixed_seed(secret, own))
        figures = gains_of(found.alone, found.federated, found.bounds)
        gains[name] = OwnerGains(found.federated.rows, figures)
    return Comparison(rounds, gains)


def _say(name: str, found: Comparison) -> None:
    for figure in FIGURES:
        mean, worst = found.mean(figure), found.worst(figure)
        click.echo(
            f"| {name} | {NAMES[figure]} | {percent(mean.alone)} | {percent(mean.federated)} | "
            f"{gain_words(Gain(mean.alone, mean.federated))} | {mean.better}, {mean.worse} | "
            f"{percent(worst.alone)} and {percent(worst.federated)} |"
        )
