"""What a prediction on shares costs, and how close it comes: `scripts/benchmark.py encrypted`.

A model of the article's is trained in this process, and scores messages that it was not trained
with: plain, at three nodes over TLS, by PySyft's VirtualWorkers in one process, and in a sealed
session of one node's own messages, all in one run. Whoever computes on shares runs the same
program, server/encrypted/scorer.py.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from scripts.benchmarks.runs import Shards, make_shards
from scripts.local.identities import make_identities
from scripts.local.nodes import local_nodes
from worker_node.data.shard import Message
from worker_node.membership.peers import add_peer, fingerprint_from

if TYPE_CHECKING:  # they load torch
    from server.encrypted.secret import Parties
    from shared.model.recipe import Recipe

POLICY = 'modes = ["shared"]\n[shared]\ncoordinators = ["coordinator"]\n'
SEALED = 'messages_with = ["anne", "carol"]\ntells_scores = true\n'
PARTS = ("nodes", "virtual", "sealed")
NODES = ("bob", "anne", "carol")
Carried = Callable[[], tuple[int, int]]
"""PySyft messages and bytes so far, both ways together."""


@dataclass(frozen=True)
class Task:
    """A trained model, and what it is to score.

    state: (P,). messages: (rows,). ids: (rows, tokens). labels: (rows,), 1 for spam. plain: its
    probabilities (rows,).
    """

    recipe: Recipe
    state: Any
    messages: list[Message]
    ids: Any
    labels: Any
    plain: Any


@dataclass(frozen=True)
class Measured:
    """One go, the sharing of the model apart: probabilities (rows,), seconds, messages, bytes."""

    spam: Any
    seconds: float
    messages: int
    bytes: int


@click.command()
@click.option("--messages", type=click.IntRange(2, 1000), default=100, show_default=True)
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--epochs", type=click.IntRange(1, 100), default=15, show_default=True)
@click.option("--only", "parts", type=click.Choice(PARTS), multiple=True, default=PARTS)
def encrypted(messages: int, repeat: int, seed: int, epochs: int, parts: tuple[str, ...]) -> None:
    """Predictions on shares: at nodes, and by VirtualWorkers, beside the plain model."""
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch)
        task = _trained(make_shards(folder, 3, "article", seed=0), messages, seed, epochs)
        identity = make_identities(folder, NODES)
        _say_plain(task)
        with local_nodes(_flags(folder, task)) as nodes:
            addresses = [node.flag for node in nodes]
            for _ in range(repeat):
                for what, found in _measurements(task, addresses, identity, parts):
                    _say(task, what, found)


def _measurements(
    task: Task, addresses: list[str], identity: Path, parts: tuple[str, ...]
) -> Iterator[tuple[str, Measured]]:
    most = len(task.labels)
    if "nodes" in parts:
        for number in (1, most):
            yield f"nodes, {number} in one go", _at_nodes(task, addresses, identity, number)
        waited = _at_nodes(task, addresses, identity, 1, pipeline=False)
        yield "nodes, 1, each operation waited for", waited
    if "virtual" in parts:
        for number in (1, most):
            yield f"VirtualWorkers, {number} in one go", _by_virtual_workers(task, number)
    if "sealed" in parts:
        for number in (1, most):
            yield f"sealed, {number}", _sealed(task, addresses, identity, number)


def _flags(folder: Path, task: Task) -> dict[str, tuple[str, ...]]:
    """Three nodes whose own rows have no part in it, but for those that bob has held out."""
    rows = [Message(one % 2, f"message {one}") for one in range(20)]
    _write(folder / "rows.tsv", rows)
    flags: dict[str, tuple[str, ...]] = {}
    for name in NODES:
        held_out, policy = folder / f"{name}.scored.tsv", folder / f"{name}.toml"
        _write(held_out, task.messages if name == "bob" else rows)
        policy.write_text(POLICY + SEALED * (name == "bob"))
        flags[name] = (
            *("--data", str(folder / "rows.tsv"), "--held-out-data", str(held_out)),
            *("--identity", str(folder / name), "--coordinator", "coordinator"),
            *("--policy", str(policy), "--audit-log", str(folder / f"{name}.jsonl")),
        )
    for other in ("anne", "carol"):
        source = str(folder / other / "certificate.pem")
        add_peer(folder / "bob", other, fingerprint_from(source, other))
    return flags


def _write(path: Path, messages: Sequence[Message]) -> None:
    lines = [f"{('ham', 'spam')[one.label]}\t{one.text}\n" for one in messages]
    path.write_text("".join(lines), encoding="utf-8")


def _trained(shards: Shards, messages: int, seed: int, epochs: int) -> Task:
    from shared.model.classifier import initial_state
    from shared.model.many_texts import encode_all
    from shared.model.recipe import load_recipe
    from shared.model.scorer import probabilities, scorer_of
    from worker_node.data.messages import read_messages
    from worker_node.training.local_training import train

    recipe = load_recipe("tutorial")
    rows = [one for path in shards.files("train") for one in read_messages(path).messages]
    kept = [one for path in shards.files("held-out") for one in read_messages(path).messages]
    ids = encode_all([one.text for one in rows], recipe.text)
    labels = np.array([one.label for one in rows])
    state = initial_state(recipe, seed)
    for number in range(epochs):
        click.echo(f"epoch {number + 1} of {epochs}", err=True)
        state = train(state, ids, labels, recipe, seed=seed + number, round_index=number).state
    chosen = [kept[one] for one in np.random.default_rng(seed).permutation(len(kept))[:messages]]
    scored = encode_all([one.text for one in chosen], recipe.text)
    truths = np.array([one.label for one in chosen])
    plain = probabilities(scorer_of(recipe, state).logits(scored))
    return Task(recipe, state, chosen, scored, truths, plain)


def _at_nodes(
    task: Task, addresses: list[str], identity: Path, rows: int, pipeline: bool = True
) -> Measured:
    from server.encrypted import Parties
    from server.pointers import connect_shared, disconnect

    workers = [connect_shared(one, pipeline=pipeline, identity=identity) for one in addresses]
    try:
        parties = Parties((workers[0], workers[1]), workers[2])
        return _measured(task, parties, rows, lambda: _carried(workers))
    finally:
        for one in workers:
            disconnect(one)


def _sealed(task: Task, addresses: list[str], identity: Path, rows: int) -> Measured:
    from server.encrypted import SealedScorer, sealed_session

    with sealed_session(addresses, "bob", task.recipe, identity=identity) as parties:
        scorer = SealedScorer(task.recipe, task.state, parties)
        before, started = _carried(parties.workers), time.perf_counter()
        spam = scorer.score(rows)
        seconds, after = time.perf_counter() - started, _carried(parties.workers)
    return Measured(spam, seconds, after[0] - before[0], after[1] - before[1])


def _carried(workers: Sequence[Any]) -> tuple[int, int]:
    links = [one.link for one in workers]
    return (
        sum(one.stream.messages for one in workers),
        sum(one.bytes_sent + one.bytes_received for one in links),
    )


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
    from shared.model.scorer import probabilities

    scorer = EncryptedScorer(task.recipe, task.state, parties)
    before, started = carried(), time.perf_counter()
    logits = scorer.logits(task.ids[:rows])
    seconds, after = time.perf_counter() - started, carried()
    spam = probabilities(logits.astype(np.float32))
    return Measured(spam, seconds, after[0] - before[0], after[1] - before[1])


def _auc(spam: Any, labels: Any) -> float:
    """The share of pairs of a spam and a ham that stand in the right order."""
    above, below = spam[labels == 1], spam[labels == 0]
    if not (above.size and below.size):
        return float("nan")
    right = (above[:, None] > below).mean() + (above[:, None] == below).mean() / 2
    return float(right)


def _say_plain(task: Task) -> None:
    right = ((task.plain > 0.5) == task.labels).mean()
    click.echo(
        f"{len(task.labels)} messages, {int(task.labels.sum())} of them spam. The plain model: "
        f"ROC AUC {_auc(task.plain, task.labels):.4f}, accuracy {right:.3f}"
    )


def _say(task: Task, what: str, found: Measured) -> None:
    rows = len(found.spam)
    plain, labels = task.plain[:rows], task.labels[:rows]
    same = int(((found.spam > 0.5) == (plain > 0.5)).sum())
    auc = f"ROC AUC {_auc(found.spam, labels):.4f}, " if rows > 1 else ""
    click.echo(
        f"{what:<36} {found.seconds:7.1f} s  {found.bytes / 1e6:7.1f} MB  "
        f"{found.messages:7,} PySyft messages  {auc}{same} of {rows} verdicts equal, "
        f"probabilities within {np.abs(found.spam - plain).max():.4f}"
    )
