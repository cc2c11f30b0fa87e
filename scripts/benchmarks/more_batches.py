"""Whether more batches a round pay with many messages: `scripts/benchmark.py more-batches`.

One owner, in one process, which gives the bits of rounds over sockets. A fifth of the collection's
distinct texts is held out as it is, and the owner's messages are made of the others alone, with
some words of each exchanged: else a longer training would only learn what it is measured with.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import mean, stdev

import click
import numpy as np
import torch

from scripts.benchmarks.shard import exchanged
from scripts.fetch_data import find_data
from shared.model.classifier import initial_state
from shared.model.metrics import Metrics, metrics_from
from shared.model.recipe import Recipe, load_recipe
from worker_node.data.messages import read_messages
from worker_node.data.packed_messages import Message, PackedMessages
from worker_node.data.shard import split_held_out
from worker_node.training.encoded_rows import EncodedRows
from worker_node.training.local_training import score, train


@click.command()
@click.option("--rows", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--batches", multiple=True, type=click.IntRange(1), default=(64, 128, 256))
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True)
def more_batches(rows: int, batches: Sequence[int], rounds: int, seeds: int) -> None:
    """More steps a round, of one owner with many messages."""
    torch.set_num_threads(1)
    distinct = {one.text: one for one in read_messages(find_data()).messages}.values()
    train_rows, held_out = split_held_out(list(distinct), 0.2)
    click.echo("| batches a round | seed | ROC AUC, % | average precision, % | F1, % | s |")
    click.echo("|---" * 6 + "|")
    found: dict[int, list[Metrics]] = {most: [] for most in batches}
    for seed in range(1, seeds + 1):
        made = PackedMessages(exchanged(train_rows, rows, seed))
        for most in batches:
            began = time.process_time()
            recipe = _of(most, rounds)
            metrics = _trained(made, held_out, recipe, seed)
            found[most].append(metrics)
            figures = (metrics.roc_auc, metrics.average_precision, metrics.f1)
            cells = " | ".join(f"{100 * (one or 0):.2f}" for one in figures)
            click.echo(f"| {most} | {seed} | {cells} | {time.process_time() - began:.0f} |")
    _say_differences(found)


def _of(most: int, rounds: int) -> Recipe:
    tables = load_recipe("default").model_dump()
    tables["training"]["max_batches"] = most
    tables["federation"]["rounds"] = rounds
    return Recipe.model_validate(tables)


def _trained(
    rows: PackedMessages, held_out: Sequence[Message], recipe: Recipe, seed: int
) -> Metrics:
    ids = EncodedRows(rows.texts, recipe.text)
    labels = np.frombuffer(rows.labels, np.uint8)
    state = initial_state(recipe, seed)
    for number in range(recipe.federation.rounds):
        one = seed * 1000 + number
        state = train(state, ids, labels, recipe, one, round_index=number, order=seed).state
    measured = EncodedRows([one.text for one in held_out], recipe.text)
    return metrics_from(score(state, measured, np.array([m.label for m in held_out]), recipe))


def _say_differences(found: dict[int, list[Metrics]]) -> None:
    """Against the first number of batches, seed by seed."""
    (first, base), *others = found.items()
    for most, metrics in others:
        for name in ("roc_auc", "average_precision", "f1"):
            pairs = zip(metrics, base, strict=True)
            gains = [100 * (getattr(a, name) - getattr(b, name)) for a, b in pairs]
            spread = f" ± {stdev(gains):.2f}" if len(gains) > 1 else ""
            click.echo(f"{most} against {first} batches, {name}: {mean(gains):+.2f}{spread} points")
