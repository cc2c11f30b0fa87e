"""What one bad owner of ten does to the model: `scripts/benchmark.py robust`.

Real messages, dealt evenly to ten owners. One of them trains on flipped labels, also with a claim
of far more rows than it has or with an update as many times as long as there are owners, or gives
back noise; held-out rows are everybody's true ones. The rounds are done in this process, without
sockets, which gives the same bits (tests/whole/test_federation.py).

The long update is the one of Bagdasaryan et al., How To Backdoor Federated Learning, AISTATS 2020,
which makes the mean the model that the bad owner wants where all count alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, get_args

import click
import numpy as np
import numpy.typing as npt
import torch

from scripts.fetch_data import find_data
from scripts.local.many_nodes import flipped, read_shard
from scripts.split_data import owner_names, split_data
from server.aggregation.rules import make_aggregator
from server.rounds.claims import counted_rows
from server.rounds.plan import node_seed
from server.runs.settings import over_recipe
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.metrics import Metrics, merge, metrics_from
from shared.model.recipe import Aggregation, Recipe, load_recipe
from shared.model.vectors import Vector
from worker_node.data.packed_messages import in_utf8
from worker_node.data.shard import Message, Shard
from worker_node.training.local_training import score, train
from worker_node.training.secret_seed import mixed_seed, secret_of

BAD = "bob"
CLAIMED_ROWS = 500_000_000
Rows = tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class Attack:
    """What the bad owner does.

    flips: trains on flipped labels. sends_noise: gives back random numbers.
    scales: its update is as many times as long as there are owners.
    claims: rows that it claims; 0 for those that it has.
    bounded: False takes the bound on claims away, to show what it is for.
    """

    flips: bool = False
    sends_noise: bool = False
    scales: bool = False
    claims: int = 0
    bounded: bool = True

    def result(self, trained: Vector, base: Vector, owners: int) -> Vector:
        """What it gives back, for a state (P,) that it trained from `base` (P,)."""
        if self.sends_noise:
            return np.random.default_rng(0).normal(size=trained.size).astype(np.float32)
        if self.scales:
            return (base + owners * (trained.astype(np.float64) - base)).astype(np.float32)
        return trained


ATTACKS = {
    "all honest": Attack(),
    "flipped labels": Attack(flips=True),
    "and 500,000,000 rows": Attack(flips=True, claims=CLAIMED_ROWS),
    "and no rows_bound": Attack(flips=True, claims=CLAIMED_ROWS, bounded=False),
    "scaled updates": Attack(flips=True, scales=True),
    "noise": Attack(sends_noise=True),
}


def rows_of(messages: Sequence[Message], recipe: Recipe) -> Rows:
    texts = [message.text for message in messages]
    return encode_all(texts, recipe.text), np.array([message.label for message in messages])


def secret_of_shard(shard: Shard) -> bytes:
    parts = (shard.train, shard.held_out)
    return secret_of((in_utf8(part), [one.label for one in part]) for part in parts)


class Federation:
    """Owners' encoded rows, and rounds over them.

    Args:
        shards: each owner's messages.
    """

    def __init__(self, shards: dict[str, Shard], recipe: Recipe, seed: int) -> None:
        self._seed = seed
        self._train = {name: rows_of(shard.train, recipe) for name, shard in shards.items()}
        self._secrets = {name: secret_of_shard(shard) for name, shard in shards.items()}
        self._held_out = [rows_of(shard.held_out, recipe) for shard in shards.values()]

    def run(self, recipe: Recipe, attack: Attack) -> Metrics:
        """All rounds; the last state's metrics over all held-out rows."""
        state = initial_state(recipe, self._seed)
        claims = {name: len(labels) for name, (_, labels) in self._train.items()}
        if attack.claims:
            claims[BAD] = attack.claims
        counted = counted_rows(claims, recipe.federation.rows_bound)
        for number in range(1, recipe.federation.rounds + 1):
            aggregator = make_aggregator(recipe.federation, state)
            for name, rows in self._train.items():
                seed = mixed_seed(self._secrets[name], node_seed(self._seed, name, number))
                result = train(state, *rows, recipe, seed, round_index=number - 1)
                given = attack.result(result.state, state, len(claims)) if name == BAD else None
                aggregator.add(name, result.state if given is None else given, counted[name])
            state = aggregator.finish().state
        return metrics_from(merge(score(state, *rows, recipe) for rows in self._held_out))


@click.command()
@click.option("--seeds", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--owners", type=click.IntRange(2, 64), default=10, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), help="[default: the recipe's, 15]")
@click.option("--recipe", "recipe_name", default="default", show_default=True)
@click.option("--attack", "attacks", type=click.Choice(list(ATTACKS)), multiple=True)
def robust(
    seeds: int, owners: int, rounds: int | None, recipe_name: str, attacks: tuple[str, ...]
) -> None:
    """ROC AUC with one bad owner, with and without a robust rule; by default of all attacks."""
    torch.set_num_threads(1)
    rules: tuple[Aggregation, ...] = get_args(Aggregation)
    click.echo("ROC AUC in %".ljust(22) + "".join(rule.rjust(15) for rule in rules))
    for name in attacks or ATTACKS:
        attack = ATTACKS[name]
        found: dict[str, list[float]] = {rule: [] for rule in rules}
        for seed in range(1, seeds + 1):
            recipe = load_recipe(recipe_name)
            federation = Federation(_shards(owners, seed, attack), recipe, seed)
            for rule in rules:
                bound = None if attack.bounded else 0.0
                values = {"rounds": rounds, "aggregation": rule, "rows_bound": bound}
                metrics = federation.run(over_recipe(recipe, values), attack)
                found[rule].append(100 * (metrics.roc_auc or 0.0))
                click.echo(f"{name}, {rule}, seed {seed}: {found[rule][-1]:.2f}", err=True)
        cells = "".join(f"{mean(found[rule]):>15.2f}" for rule in rules)
        click.echo(name.ljust(22) + cells)


def _shards(owners: int, seed: int, attack: Attack) -> dict[str, Shard]:
    names = owner_names(owners)
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        split_data(find_data(), Path(scratch) / "shards", names, partition="iid", seed=seed)
        shards = {name: read_shard(Path(scratch) / "shards", name) for name in names}
    if attack.flips:
        shards[BAD] = flipped(shards[BAD])
    return shards
