"""What a leak receipt costs a round, and what it says: `scripts/benchmark.py receipts`.

One owner of two, in one process and one thread: a round of training, and its receipt, in turns, in
seconds of the processor's, which others on the machine do not change. The first round's receipt
also finds the features of what is asked about. With secure sums the numbers are random, as masked
ones are to whoever has no mask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import click
import numpy as np
import torch

from scripts.benchmarks.privacy import Part, collection
from scripts.data.partition import deal
from scripts.fetch_data import find_data
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.model.vectors import Vector
from shared.privacy.accountant import mu_of
from shared.privacy.private_sum import UNIT, PrivateSum
from shared.privacy.reading_updates import Numbers
from worker_node.data.shard import Shard
from worker_node.guarding.leak_receipts import Departure, LeakReceipts
from worker_node.privacy.receipts import Leaving
from worker_node.training.local_training import train
from worker_node.training.private_step import release

Round = Callable[[Vector, int], tuple[Vector, Numbers]]
"""From a state and the round's number to the next state, and the update."""


@click.command()
@click.option("--recipe", "recipes", multiple=True, default=("default", "tutorial", "private"))
def receipts(recipes: tuple[str, ...]) -> None:
    """Processor seconds of a run's receipts against those of its rounds, and the last receipt."""
    torch.set_num_threads(1)
    shard = deal(collection(find_data()), 2, "iid", seed=1, alpha=1.0)[0]
    for name in recipes:
        recipe = load_recipe(name)
        for is_masked in (False, True):
            _measure(name, recipe, shard, is_masked)


def _measure(name: str, recipe: Recipe, shard: Shard, is_masked: bool) -> None:
    train_one = _private(recipe, shard) if recipe.is_private else _plain(recipe, shard)
    taken, state = LeakReceipts(), initial_state(recipe, 1)
    rounds, own = [], []
    for number in range(1, recipe.federation.rounds + 1):
        began = time.process_time()
        state, update = train_one(state, number)
        rounds.append(time.process_time() - began)
        if is_masked:
            update = np.random.default_rng(number).standard_normal(len(update))
        began = time.process_time()
        asyncio.run(taken.take(_departure(recipe, number, update, is_masked), shard))
        own.append(time.process_time() - began)
    click.echo(
        f"{name}{', masked' * is_masked}: {len(rounds)} rounds {sum(rounds):.2f} s, receipts "
        f"{sum(own):.2f} s, {100 * sum(own) / sum(rounds):.1f} %; the first {own[0]:.2f} s\n"
        f"  {taken.kept.newest[-1].in_words()}"
    )


def _departure(recipe: Recipe, number: int, update: Numbers, is_masked: bool) -> Departure:
    leaves: dict[tuple[bool, bool], Leaving] = {
        (False, False): "update",
        (False, True): "masked update",
        (True, False): "noisy sum",
        (True, True): "masked noisy sum",
    }
    kind = leaves[recipe.is_private, is_masked]
    rounds = recipe.federation.rounds
    return Departure("coordinator", "a-run", number, rounds, recipe, kind, update)


def _plain(recipe: Recipe, shard: Shard) -> Round:
    ids = encode_all([row.text for row in shard.train], recipe.text)
    labels = np.array([row.label for row in shard.train])

    def one(state: Vector, number: int) -> tuple[Vector, Numbers]:
        found = train(state, ids, labels, recipe, seed=number, round_index=number - 1).state
        return found, found.astype(np.float64) - state

    return one


def _private(recipe: Recipe, shard: Shard) -> Round:
    part = Part.of(shard.train, recipe)
    multiplier = recipe.federation.rounds**0.5 / mu_of(recipe.privacy.epsilon, recipe.privacy.delta)

    def one(state: Vector, number: int) -> tuple[Vector, Numbers]:
        numbers = release(state, [(part.features, part.labels)], recipe, multiplier)
        step = PrivateSum.decode(numbers, recipe).step(state, recipe, number)
        return step, numbers[: recipe.parameters].view(np.int64) / UNIT

    return one
