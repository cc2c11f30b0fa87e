"""What a private run is worth: AUC, AP and F1 by epsilon, owners and kind of noise, in one process.

The nodes' own steps (worker_node/training/private_step.py) and the coordinator's
(shared/privacy/private_sum.py) without sockets between them, since sums are the same on both sides
of one. Held-out rows are measured exactly here, without the noise that a real run adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import mean, stdev

import click
import numpy as np

from scripts.data.partition import deal, deduplicate
from scripts.fetch_data import find_data
from shared.model.many_texts import encode_all
from shared.model.metrics import Metrics, metrics_from, summarise
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.accountant import mu_of
from shared.privacy.private_sum import EXTRA, PrivateSum
from worker_node.data.shard import Message, read_messages
from worker_node.training.private_step import Features, release

Labels = np.ndarray


@dataclass(frozen=True)
class Part:
    """Rows, as a node's trainer holds them."""

    features: Features
    labels: Labels

    @classmethod
    def of(cls, messages: Sequence[Message], recipe: Recipe) -> Part:
        ids = encode_all([one.text for one in messages], recipe.text)
        labels = np.array([one.label for one in messages], np.int64)
        return cls(Features.of(ids, recipe), labels)


@lru_cache(maxsize=1)
def collection(path: Path) -> list[Message]:
    return deduplicate(read_messages(path).messages)


def dealt(path: Path, owners: int, seed: int, recipe: Recipe) -> tuple[list[Part], Part]:
    """Each owner's rows to train on, and all held-out ones together."""
    shards = deal(collection(path), owners, "iid", seed=seed, alpha=1.0)
    held_out = tuple(one for shard in shards for one in shard.held_out)
    return [Part.of(shard.train, recipe) for shard in shards], Part.of(held_out, recipe)


def run(parts: list[Part], held_out: Part, recipe: Recipe, shared: bool) -> Metrics:
    """A whole private run, and how its model does."""
    rounds = recipe.federation.rounds
    mu = mu_of(recipe.privacy.epsilon, recipe.privacy.delta)
    multiplier = rounds**0.5 / mu / (len(parts) ** 0.5 if shared else 1)
    state = np.zeros(recipe.parameters, np.float32)
    for number in range(1, rounds + 1):
        numbers = [
            release(state, [(part.features, part.labels)], recipe, multiplier) for part in parts
        ]
        total = sum(numbers, np.zeros(recipe.parameters + EXTRA, np.uint64))
        state = PrivateSum.decode(total, recipe).step(state, recipe, number)
    logits = held_out.features.logits(state, recipe.model.bias)
    return metrics_from(summarise(logits, held_out.labels))


def with_epsilon(recipe: Recipe, epsilon: float) -> Recipe:
    privacy = recipe.privacy.model_copy(update={"epsilon": epsilon})
    return recipe.model_copy(update={"privacy": privacy})


@click.command()
@click.option("--owners", multiple=True, type=click.IntRange(1, 100), default=(2, 10))
@click.option("--epsilon", "epsilons", multiple=True, type=float, default=(8.0, 4.0, 2.0, 1.0))
@click.option("--seeds", type=click.IntRange(2, 100), default=5, show_default=True)
@click.option("--first-seed", type=int, default=10, show_default=True)
@click.option("--recipe", "name", help="Instead of private from 4 on, and private-strict below.")
def privacy(
    owners: tuple[int, ...],
    epsilons: tuple[float, ...],
    seeds: int,
    first_seed: int,
    name: str | None,
) -> None:
    """Accuracy of private runs by epsilon, with shared and with own noise; in one process."""
    path = find_data()
    click.echo(f"{'owners':>6}  {'epsilon':>7}  {'noise':<6}  {'AUC':>13}  {'AP':>13}  {'F1':>13}")
    for count in owners:
        for epsilon in epsilons:
            named = name or ("private" if epsilon >= 4 else "private-strict")
            recipe = with_epsilon(load_recipe(named), epsilon)
            for shared in (True, False):
                found = [
                    run(*dealt(path, count, seed, recipe), recipe, shared)
                    for seed in range(first_seed, first_seed + seeds)
                ]
                figures = [
                    [one.roc_auc for one in found],
                    [one.average_precision for one in found],
                    [one.f1 for one in found],
                ]
                told = "  ".join(f"{spread(values):>13}" for values in figures)
                kind = "shared" if shared else "own"
                click.echo(f"{count:>6}  {epsilon:>7g}  {kind:<6}  {told}")


def spread(values: list[float | None]) -> str:
    """Mean and standard deviation in percent."""
    percent = [100 * (value or 0.0) for value in values]
    return f"{mean(percent):.2f} ± {stdev(percent):.2f}"
