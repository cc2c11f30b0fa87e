"""What a prediction on shares costs, and how close it comes: `scripts/benchmark.py encrypted`.

A model of the article's is trained in this process, and scores messages that it was not trained
with: plain, at three nodes, and by PySyft's VirtualWorkers in one process, all in one run. Whoever
computes on shares runs the same program, server/encrypted/scorer.py.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from scripts.benchmarks.runs import Shards, make_shards
from scripts.local.nodes import local_nodes

if TYPE_CHECKING:  # they load torch
    from server.encrypted.secret import Parties
    from shared.model.recipe import Recipe

POLICY = 'modes = ["shared"]\n[shared]\ncoordinators = [{name}]\n'
NODES = ("bob", "anne", "carol")
Carried = Callable[[], tuple[int, int]]
"""PySyft messages and bytes so far, both ways together."""


@dataclass(frozen=True)
class Task:
    """A trained model, and what it is to score.

    state: (P,). ids: (rows, tokens). labels: (rows,), 1 for spam. plain: its logits (rows,).
    """

    recipe: Recipe
    state: Any
    ids: Any
    labels: Any
    plain: Any


@dataclass(frozen=True)
class Measured:
    """One go, the sharing of the model apart: logits (rows,), seconds, messages, bytes."""

    logits: Any
    seconds: float
    messages: int
    bytes: int


@click.command()
@click.option("--messages", type=click.IntRange(2, 1000), default=100, show_default=True)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def encrypted(messages: int, repeat: int, seed: int) -> None:
    """Predictions on shares: at nodes, and by VirtualWorkers, beside the plain model."""
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch)
        task = _trained(make_shards(folder, 3, "article", seed=0), messages, seed)
        (folder / "policy.toml").write_text(_policy())
        flags = _flags(folder)
        _say_plain(task)
        with local_nodes(flags) as nodes:
            addresses = [node.flag for node in nodes]
            for _ in range(repeat):
                for number in (1, messages):
                    _say(task, f"nodes, {number} in one go", _at_nodes(task, addresses, number))
                waited = _at_nodes(task, addresses, 1, pipeline=False)
                _say(task, "nodes, 1, each operation waited for", waited)
                for number in (1, messages):
                    found = _by_virtual_workers(task, number)
                    _say(task, f"VirtualWorkers, {number} in one go", found)


def _policy() -> str:
    return POLICY.format(name=json.dumps(platform.node() or "coordinator"))


def _flags(folder: Path) -> dict[str, tuple[str, ...]]:
    """Three nodes whose own rows have no part in it."""
    rows = folder / "rows.tsv"
    rows.write_text("".join(f"{('ham', 'spam')[one % 2]}\tmessage {one}\n" for one in range(20)))
    shared = ("--data", str(rows), "--policy", str(folder / "policy.toml"))
    return {name: (*shared, "--audit-log", str(folder / f"{name}.jsonl")) for name in NODES}


def _trained(shards: Shards, messages: int, seed: int) -> Task:
    from shared.model.classifier import initial_state
    from shared.model.many_texts import encode_all
    from shared.model.recipe import load_recipe
    from shared.model.scorer import scorer_of
    from worker_node.data.messages import read_messages
    from worker_node.training.local_training import train

    recipe = load_recipe("tutorial")
    rows = [one for path in shards.files("train") for one in read_messages(path).messages]
    kept = [one for path in shards.files("held-out") for one in read_messages(path).messages]
    ids = encode_all([one.text for one in rows], recipe.text)
    labels = np.array([one.label for one in rows])
    state = initial_state(recipe, seed)
    for number in range(recipe.federation.rounds):
        click.echo(f"epoch {number + 1} of {recipe.federation.rounds}", err=True)
        state = train(state, ids, labels, recipe, seed=seed + number, round_index=number).state
    chosen = [kept[one] for one in np.random.default_rng(seed).permutation(len(kept))[:messages]]
    scored = encode_all([one.text for one in chosen], recipe.text)
    truths = np.array([one.label for one in chosen])
    return Task(recipe, state, scored, truths, scorer_of(recipe, state).logits(scored))


def _at_nodes(task: Task, addresses: list[str], rows: int, pipeline: bool = True) -> Measured:
    from server.encrypted import Parties
    from server.pointers import connect_shared, disconnect

    workers = [connect_shared(one, pipeline=pipeline) for one in addresses]

    def carried() -> tuple[int, int]:
        lines = [one.link for one in workers]
        return (
            sum(one.stream.messages for one in workers),
            sum(one.bytes_sent + one.bytes_received for one in lines),
        )

    try:
        return _measured(task, Parties((workers[0], workers[1]), workers[2]), rows, carried)
    finally:
        for one in workers:
            disconnect(one)


@contextmanager
def _virtual_workers() -> Iterator[tuple[list[Any], Carried]]:
    from shared.pysyft import VirtualWorker, forget_worker, make_hook

    counted = [0, 0]

    class Counting(VirtualWorker):
        def _recv_msg(self, message: bytes) -> bytes:
            answer: bytes = super()._recv_msg(message)
            counted[0] += 1
            counted[1] += len(message) + len(answer)
            return answer

    workers = [Counting(make_hook(), id=f"virtual-{name}") for name in NODES]
    try:
        yield workers, lambda: (counted[0], counted[1])
    finally:
        for one in workers:
            forget_worker(one)


def _by_virtual_workers(task: Task, rows: int) -> Measured:
    from server.encrypted import Parties

    with _virtual_workers() as (workers, carried):
        return _measured(task, Parties((workers[0], workers[1]), workers[2]), rows, carried)


def _measured(task: Task, parties: Parties, rows: int, carried: Carried) -> Measured:
    from server.encrypted import EncryptedScorer

    scorer = EncryptedScorer(task.recipe, task.state, parties)
    before, started = carried(), time.perf_counter()
    logits = scorer.logits(task.ids[:rows])
    seconds, after = time.perf_counter() - started, carried()
    return Measured(logits, seconds, after[0] - before[0], after[1] - before[1])


def _auc(logits: Any, labels: Any) -> float:
    """The share of pairs of a spam and a ham that stand in the right order."""
    spam, ham = logits[labels == 1], logits[labels == 0]
    if not (spam.size and ham.size):
        return float("nan")
    above = (spam[:, None] > ham[None]).mean() + (spam[:, None] == ham[None]).mean() / 2
    return float(above)


def _say_plain(task: Task) -> None:
    right = ((task.plain > 0) == task.labels).mean()
    click.echo(
        f"{len(task.labels)} messages, {int(task.labels.sum())} of them spam. The plain model: "
        f"ROC AUC {_auc(task.plain, task.labels):.4f}, accuracy {right:.3f}"
    )


def _say(task: Task, what: str, found: Measured) -> None:
    from shared.model.scorer import probabilities

    rows = len(found.logits)
    plain, labels = task.plain[:rows], task.labels[:rows]
    apart = np.abs(probabilities(found.logits) - probabilities(plain)).max()
    same = int(((found.logits > 0) == (plain > 0)).sum())
    auc = f"ROC AUC {_auc(found.logits, labels):.4f}, " if rows > 1 else ""
    click.echo(
        f"{what:<36} {found.seconds:7.1f} s  {found.bytes / 1e6:7.1f} MB  "
        f"{found.messages:7,} PySyft messages  {auc}{same} of {rows} verdicts equal, "
        f"probabilities within {apart:.4f}, logits within {np.abs(found.logits - plain).max():.3f}"
    )
