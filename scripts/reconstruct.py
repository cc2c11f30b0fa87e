"""Reads an owner's messages from trained models, as a malicious coordinator would, by policy.

    python scripts/reconstruct.py --data messages.tsv
    python scripts/reconstruct.py --data messages.tsv --rows 200 --trainings 20

A real node is started for each policy, asked for the trainings that this policy allows, and what
comes back is read. A message counts as read where its label is right and nine tenths of its
characters stand in the pieces that were put together for it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.local.nodes import LocalNode, local_nodes
from scripts.reconstruction.asking import Training, moved
from scripts.reconstruction.reading import messages, runs_of, share_read
from shared.cli import run
from shared.errors import PolicyRefused
from worker_node.data.labels import label_name
from worker_node.data.messages import Message, read_messages

READ = 0.9
Read = tuple[int, list[str]]
"""A label, and the pieces of one message."""


@dataclass(frozen=True)
class Case:
    """A policy's [recipe] table, and the training that is asked of it."""

    name: str
    rules: str
    training: Training


NO_BOUNDS = "fewest_rows_a_step = 1\nfewest_rows_mixed = 1"
CASES = (
    Case("no lower bounds", NO_BOUNDS, Training(1, 1)),
    Case("the defaults", "", Training(1, 1)),
    Case("the defaults", "", Training(15, 16)),
    Case("fewest_rows_a_step = 64", "fewest_rows_a_step = 64", Training(127, 2)),
    Case("fewest_rows_a_step = 2048", "fewest_rows_a_step = 2048", Training(4096, 0)),
)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--rows", default=400, show_default=True, help="Messages that the owner has.")
@click.option("--trainings", default=20, show_default=True, help="Trainings asked of each policy.")
def main(data: Path, rows: int, trainings: int) -> None:
    """Print what can be read of an owner's messages under each policy."""
    owned = read_messages(data, skip_bad_lines=True).messages[:rows]
    click.echo(
        "| policy, `[recipe]` | training asked for | answer | messages read | of each, median |"
    )
    click.echo("|---|---|---|---|---|")
    for case in CASES:
        click.echo(_row(case, owned, trainings))


def _row(case: Case, owned: tuple[Message, ...], trainings: int) -> str:
    training = case.training
    asked = f"`batch_size = {training.batch_size}, max_batches = {training.max_batches}`"
    with _node(case, owned) as node:
        try:
            found = asyncio.run(_attack(node, training, trainings))
        except PolicyRefused as error:
            rule = error.cause.partition("(rule ")[2].partition(")")[0]
            return f"| {case.name} | {asked} | refused, rule {rule} | 0 of {len(owned)} | - |"
    best = [_best(message, found) for message in owned]
    read = sum(share >= READ for share in best)
    middle = f"{statistics.median(best):.0%}"
    return (
        f"| {case.name} | {asked} | trained {trainings} times | {read} of {len(owned)} | {middle} |"
    )


@contextmanager
def _node(case: Case, owned: tuple[Message, ...]) -> Iterator[LocalNode]:
    """A node with these rows, all of them to train on, and the case's policy."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [f"{label_name(message.label)}\t{message.text}" for message in owned]
        (folder / "messages.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "policy.toml").write_text(f"[recipe]\n{case.rules}\n", encoding="utf-8")
        flags = ("--data", str(folder / "messages.tsv"), "--held-out", "0")
        policy = ("--policy", str(folder / "policy.toml"))
        with local_nodes({"bob": (*flags, *policy)}) as (node,):
            yield node


async def _attack(node: LocalNode, training: Training, trainings: int) -> list[Read]:
    found: list[Read] = []
    for seed in range(trainings):
        found += messages(runs_of(await moved(node.flag, training, seed)))
    return found


def _best(message: Message, found: list[Read]) -> float:
    """Share of a message that was read where it was read best, with its label."""
    of_label = (pieces for label, pieces in found if label == message.label)
    return max((share_read(message.text, pieces) for pieces in of_label), default=0.0)


if __name__ == "__main__":
    run(main, "python scripts/reconstruct.py")
