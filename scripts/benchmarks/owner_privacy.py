"""What a private run is worth whose unit is an owner: AUC, AP and F1 by owners and epsilon.

In one process, as scripts/benchmarks/privacy.py. The collection is halved by the texts' hashes:
held-out rows come from the half that no setting of the recipe was chosen by; `--choosing` takes
the other half. All that is not held out is dealt to the owners. The sum of their noise is drawn at
once: it is that of one who adds as much as they do together.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import click
import numpy as np

from scripts.benchmarks.privacy import Part, collection, spread, with_epsilon
from scripts.data.partition import Partition, deal
from scripts.fetch_data import find_data
from shared.model.many_texts import encode_all
from shared.model.metrics import Metrics, metrics_from, summarise
from shared.model.recipe import Recipe, TextRecipe, load_recipe
from shared.privacy.accountant import mu_of
from shared.privacy.private_sum import EXTRA, PrivateSum, Scales
from worker_node.data.shard import Message
from worker_node.training.noise import LEAST_DEVIATION, gaussian
from worker_node.training.private_step import Features, as_one_owner, exact_sum

HELD_OUT = 0.2
PARTITIONS = {"even": "iid", "skewed": "dirichlet"}


def in_half(message: Message, choosing: bool) -> bool:
    """Whether a message is of the half that settings are chosen by, or of the other."""
    return (hashlib.sha256(message.text.encode()).digest()[0] % 2 == 0) is choosing


def dealt(
    path: Path, owners: int, seed: int, recipe: Recipe, partition: Partition, choosing: bool
) -> tuple[list[Part], Part]:
    """Each owner's rows to train on, and the held-out ones."""
    draw = random.Random(seed)  # noqa: S311 - reproducible by intent; nothing secret hangs on it
    messages = list(collection(path))
    draw.shuffle(messages)
    half = [one for one in messages if in_half(one, choosing)]
    held_out = half[: round(HELD_OUT * len(messages))]
    texts = {one.text for one in held_out}
    rest = [one for one in messages if one.text not in texts]
    shards = deal(rest, owners, partition, seed=seed, alpha=1.0)
    parts = [_part((*shard.train, *shard.held_out), path, recipe) for shard in shards]
    return parts, _part(held_out, path, recipe)


@lru_cache(maxsize=1)
def _encoded(path: Path, text: TextRecipe) -> dict[str, np.ndarray]:
    """Rows of ids by message: every seed has the same messages."""
    texts = [one.text for one in collection(path)]
    return dict(zip(texts, encode_all(texts, text), strict=True))


def _part(messages: Sequence[Message], path: Path, recipe: Recipe) -> Part:
    rows = _encoded(path, recipe.text)
    ids = np.stack([rows[one.text] for one in messages])
    return Part(Features.of(ids, recipe), np.array([one.label for one in messages], np.int64))


def run(parts: Sequence[Part], held_out: Part, recipe: Recipe, honest: int) -> Metrics:
    """A whole run, whose noise `honest` owners share.

    Args:
        recipe: epsilon 0 has next to no noise: only what the grid takes at least.
    """
    privacy, rounds = recipe.privacy, recipe.federation.rounds
    deviation = LEAST_DEVIATION
    if privacy.epsilon:
        multiplier = (rounds / honest) ** 0.5 / mu_of(privacy.epsilon, privacy.delta)
        deviation = multiplier * Scales.of(recipe).sensitivity * len(parts) ** 0.5
    state = np.zeros(recipe.parameters, np.float32)
    for number in range(1, rounds + 1):
        total = gaussian(deviation, recipe.parameters + EXTRA)
        total[1 - EXTRA] = 0  # owners are counted without noise
        for part in parts:
            added = exact_sum(state, part.features, part.labels, recipe)
            total += as_one_owner(added, len(part.labels), recipe)
        state = PrivateSum.decode(total.view(np.uint64), recipe).step(state, recipe, number)
    logits = held_out.features.logits(state, recipe.model.bias)
    return metrics_from(summarise(logits, held_out.labels))


@click.command("owner-privacy")
@click.option("--owners", multiple=True, type=click.IntRange(2, 100), default=(10, 30, 100))
@click.option("--epsilon", "epsilons", multiple=True, type=float, default=(0.0, 8.0, 4.0, 2.0, 1.0))
@click.option("--seeds", type=click.IntRange(2, 100), default=5, show_default=True)
@click.option("--first-seed", type=int, default=10, show_default=True)
@click.option("--recipe", "name", default="private-owner", show_default=True)
@click.option(
    "--rows", "kinds", multiple=True, type=click.Choice([*PARTITIONS]), default=tuple(PARTITIONS)
)
@click.option(
    "--honest",
    "shares",
    multiple=True,
    type=float,
    default=(1.0, 0.5, 0.0),
    show_default=True,
    help="Share of the owners that share the noise; 0: each adds all of it.",
)
@click.option("--choosing", is_flag=True, help="Measure on the half to choose settings by.")
def owner_privacy(
    owners: tuple[int, ...],
    epsilons: tuple[float, ...],
    seeds: int,
    first_seed: int,
    name: str,
    kinds: tuple[str, ...],
    shares: tuple[float, ...],
    choosing: bool,
) -> None:
    """Accuracy of private runs whose unit is an owner; in one process."""
    path, found = find_data(), load_recipe(name)
    click.echo("| owners | rows | noise of | epsilon | AUC | AP | F1 |\n" + "|---" * 7 + "|")
    for count in owners:
        for kind in kinds:
            data = [
                dealt(path, count, seed, found, PARTITIONS[kind], choosing)  # type: ignore[arg-type]
                for seed in range(first_seed, first_seed + seeds)
            ]
            for epsilon in epsilons:
                for share in shares if epsilon else shares[:1]:
                    recipe, honest = with_epsilon(found, epsilon), max(1, round(share * count))
                    metrics = [run(*one, recipe, honest) for one in data]
                    click.echo(f"| {count} | {kind} | {honest} | {epsilon:g} | {_cells(metrics)} |")


def _cells(found: Sequence[Metrics]) -> str:
    figures = ([getattr(one, name) for one in found] for name in _FIGURES)
    return " | ".join(map(spread, figures))


_FIGURES = ("roc_auc", "average_precision", "f1")
