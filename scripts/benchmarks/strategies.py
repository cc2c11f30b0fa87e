"""What FedProx and server optimisers are worth: `scripts/benchmark.py strategies`.

Real messages, dealt to ten owners evenly and unevenly; every strategy starts from the same state
with the same rows and seeds, so that differences are taken pair by pair. The rounds are done in
this process, without sockets, which gives the same bits (tests/whole/test_federation.py).

    --tune   tries each strategy's settings on seeds of their own, and measures on a fifth of each
             owner's training rows that is kept from training; held-out rows are not looked at
    without  measures what was chosen on the held-out rows of other seeds

Each finished training is a line of --results, and is not done again.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import numpy as np
import torch

from scripts.benchmarks.robust import Rows, rows_of, secret_of_shard
from scripts.data.partition import Partition
from scripts.fetch_data import find_data
from scripts.local.many_nodes import read_shard
from scripts.split_data import owner_names, split_data
from server.aggregation.rules import make_aggregator
from server.aggregation.server_optimizer import make_server_optimizer
from server.rounds.claims import counted_rows
from server.rounds.plan import node_seed
from shared.files import append_lines
from shared.model.classifier import initial_state
from shared.model.metrics import Metrics, merge, metrics_from
from shared.model.recipe import Recipe, load_recipe
from shared.model.vectors import Vector
from worker_node.data.shard import Shard
from worker_node.training.local_training import score, train
from worker_node.training.secret_seed import mixed_seed

DEALS: Mapping[str, tuple[Partition, float]] = {
    "iid": ("iid", 1.0),
    "dirichlet 0.3": ("dirichlet", 0.3),
    "dirichlet 0.1": ("dirichlet", 0.1),
}
Keys = Mapping[str, Any]


def _prox(mu: float) -> Keys:
    return {"training": {"proximal_mu": mu}}


def _server(name: str, rate: float, momentum: float, tau: float = 1e-3) -> Keys:
    keys = {"server_optimizer": name, "server_learning_rate": rate, "server_momentum": momentum}
    return {"federation": {**keys, "server_tau": tau}}


CANDIDATES: Mapping[str, Mapping[str, Keys]] = {
    "FedAvg": {"": {}},
    "FedProx": {f"mu {mu:g}": _prox(mu) for mu in (0.001, 0.01, 0.1)},
    "FedAvgM": {
        f"momentum {momentum:g}, rate {rate:g}": _server("fedavgm", rate, momentum)
        for momentum, rate in ((0.3, 1.0), (0.6, 1.0))
    },
    "FedAdam": {
        f"rate {rate:g}, tau {tau:g}": _server("fedadam", rate, 0.9, tau)
        for rate, tau in ((0.03, 1e-3), (0.1, 1e-3), (0.3, 0.1))
    },
    "FedYogi": {
        f"rate {rate:g}, tau {tau:g}": _server("fedyogi", rate, 0.9, tau)
        for rate, tau in ((0.03, 1e-3), (0.1, 1e-3), (0.3, 0.1))
    },
}
CHOSEN: Mapping[str, str] = {
    "FedAvg": "",
    "FedProx": "mu 0.001",
    "FedAvgM": "momentum 0.6, rate 1",
    "FedAdam": "rate 0.1, tau 0.001",
    "FedYogi": "rate 0.03, tau 0.001",
}
"""What --tune gave: the best average precision of each strategy, in the mean of uneven deals."""
FIRST_TUNING_SEED = 101


@dataclass(frozen=True)
class Owners:
    """Each owner's encoded rows to train on, and the rows of all that are measured with."""

    train: dict[str, Rows]
    secrets: dict[str, bytes]
    measured: list[Rows]


def owners_of(shards: Mapping[str, Shard], recipe: Recipe, tune: bool) -> Owners:
    train_rows = {name: rows_of(shard.train, recipe) for name, shard in shards.items()}
    secrets = {name: secret_of_shard(shard) for name, shard in shards.items()}
    if not tune:
        held_out = [rows_of(shard.held_out, recipe) for shard in shards.values()]
        return Owners(train_rows, secrets, held_out)
    aside = {name: np.arange(len(rows[1])) % 5 == 0 for name, rows in train_rows.items()}
    measured = [
        (ids[aside[name]], labels[aside[name]]) for name, (ids, labels) in train_rows.items()
    ]
    kept = {
        name: (ids[~aside[name]], labels[~aside[name]])
        for name, (ids, labels) in train_rows.items()
    }
    return Owners(kept, secrets, measured)


def federate(owners: Owners, recipe: Recipe, seed: int) -> Metrics:
    """All rounds; the last state's metrics."""
    state = federated_state(owners, recipe, seed)
    return metrics_from(merge(score(state, *rows, recipe) for rows in owners.measured))


def federated_state(owners: Owners, recipe: Recipe, seed: int) -> Vector:
    """All rounds in this process; the last state (P,), with the bits of rounds over sockets."""
    state = initial_state(recipe, seed)
    claims = {name: len(labels) for name, (_, labels) in owners.train.items()}
    counted = counted_rows(claims, recipe.federation.rows_bound)
    optimizer = make_server_optimizer(recipe.federation)
    for number in range(1, recipe.federation.rounds + 1):
        aggregator = make_aggregator(recipe.federation, state)
        for name, rows in owners.train.items():
            own = mixed_seed(owners.secrets[name], node_seed(seed, name, number))
            result = train(state, *rows, recipe, own, round_index=number - 1)
            aggregator.add(name, result.state, counted[name])
        state = optimizer.step(state, aggregator.finish().state)
    return state


def with_keys(recipe: Recipe, keys: Keys) -> Recipe:
    tables = recipe.model_dump()
    for table, values in keys.items():
        tables[table] |= values
    return Recipe.parse(tables, "the recipe with a strategy")


class Results:
    """Finished trainings, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._found = {tuple(one["what"]): one["metrics"] for one in map(json.loads, lines)}

    def __contains__(self, what: tuple[Any, ...]) -> bool:
        return what in self._found

    def add(self, what: tuple[Any, ...], metrics: Metrics) -> None:
        self._found[what] = metrics.as_dict()
        append_lines(self._path, [json.dumps({"what": what, "metrics": metrics.as_dict()})])

    def percent(self, what: tuple[Any, ...], name: str) -> float:
        return 100 * float(self._found[what][name])


@click.command(help=__doc__)
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--owners", "count", type=click.IntRange(2, 64), default=10, show_default=True)
@click.option("--recipe", "recipe_name", default="default", show_default=True)
@click.option("--tune", is_flag=True, help="Try settings, on rows that are trained on otherwise.")
@click.option("--deal", "deals", type=click.Choice(list(DEALS)), multiple=True)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("strategies.jsonl"),
    show_default=True,
)
def strategies(
    seeds: int, count: int, recipe_name: str, tune: bool, deals: tuple[str, ...], results: Path
) -> None:
    torch.set_num_threads(1)
    recipe, done = load_recipe(recipe_name), Results(results)
    first = FIRST_TUNING_SEED if tune else 1
    for seed in range(first, first + seeds):
        for deal in deals or DEALS:
            _run_all(done, deal, seed, count, recipe, tune)
    say = _say_tuning if tune else _say_measured
    say(range(first, first + seeds), deals or tuple(DEALS), done)


def _run_all(done: Results, deal: str, seed: int, count: int, recipe: Recipe, tune: bool) -> None:
    wanted = [
        (strategy, name)
        for strategy, name in _tried(tune)
        if (deal, seed, strategy, name) not in done
    ]
    owners = owners_of(_shards(deal, count, seed), recipe, tune) if wanted else None
    for strategy, name in wanted:
        assert owners is not None
        what = (deal, seed, strategy, name)
        done.add(what, federate(owners, with_keys(recipe, CANDIDATES[strategy][name]), seed))
        click.echo(
            f"{deal}, seed {seed}, {strategy} {name}: AUC {done.percent(what, 'roc_auc'):.2f}",
            err=True,
        )


def _tried(tune: bool) -> Iterator[tuple[str, str]]:
    for strategy, candidates in CANDIDATES.items():
        for name in candidates if tune else (CHOSEN[strategy],):
            yield strategy, name


def _shards(deal: str, count: int, seed: int) -> dict[str, Shard]:
    names, (partition, alpha) = owner_names(count), DEALS[deal]
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch) / "shards"
        split_data(find_data(), folder, names, partition=partition, seed=seed, alpha=alpha)
        return {name: read_shard(folder, name) for name in names}


def _say_tuning(seeds: range, deals: tuple[str, ...], done: Results) -> None:
    click.echo(
        "average precision in %, on rows kept from training".ljust(52)
        + "".join(d.rjust(16) for d in deals)
        + "all".rjust(9)
    )
    for strategy, name in _tried(tune=True):
        by_deal = [
            mean(done.percent((deal, seed, strategy, name), "average_precision") for seed in seeds)
            for deal in deals
        ]
        cells = "".join(f"{value:>16.2f}" for value in by_deal)
        click.echo(f"{strategy} {name}".ljust(52) + cells + f"{mean(by_deal):>9.2f}")


def _say_measured(seeds: range, deals: tuple[str, ...], done: Results) -> None:
    for metric, title in (
        ("roc_auc", "ROC AUC"),
        ("average_precision", "average precision"),
        ("f1", "F1"),
    ):
        click.echo(f"{title} in %, and its difference to FedAvg seed by seed")
        for strategy, name in _tried(tune=False):
            cells = "".join(_cell(done, metric, deal, seeds, strategy, name) for deal in deals)
            click.echo(f"  {strategy}".ljust(12) + cells)


def _cell(done: Results, metric: str, deal: str, seeds: range, strategy: str, name: str) -> str:
    found = [done.percent((deal, seed, strategy, name), metric) for seed in seeds]
    if strategy == "FedAvg":
        return f"{deal}: {mean(found):.2f}".rjust(34)
    plain = [done.percent((deal, seed, "FedAvg", ""), metric) for seed in seeds]
    apart = [one - other for one, other in zip(found, plain, strict=True)]
    spread = stdev(apart) if len(apart) > 1 else 0.0
    return f"{mean(found):.2f}  {mean(apart):+.2f} ± {spread:.2f}".rjust(34)
