"""How a run looks while it goes on: bars on a terminal, a line a round elsewhere, or JSON lines.

Progress goes to standard error, results to standard output. Bars need a terminal: in a container's
log they would be a page of control characters.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from server.rounds.records import Round, megabytes, notice_line, percent, round_line
from shared.model.metrics import Metrics
from shared.wire.commands import Progress

if TYPE_CHECKING:  # `status` shows a table without waiting for torch
    from shared.model.vectors import Vector


MOST_BARS = 20
"""Nodes that have a bar of their own."""


class Lines:
    """A line a round on standard error."""

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """A line a round is all that a log needs."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        click.echo(notice_line(number, node, text), err=True)

    def on_round(self, record: Round, state: Vector) -> None:
        click.echo(round_line(record), err=True)

    def running(self) -> AbstractContextManager[Any]:
        return nullcontext()


class JsonLines:
    """Each round's rows as JSON lines on standard output."""

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Machines read the rounds."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        click.echo(notice_line(number, node, text), err=True)

    def on_round(self, record: Round, state: Vector) -> None:
        for row in record.rows():
            click.echo(json.dumps(row))

    def running(self) -> AbstractContextManager[Any]:
        return nullcontext()


class Bars:
    """A bar for the rounds and one for each node, at the foot of the terminal."""

    def __init__(self, rounds: int, nodes: list[str], console: Console) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._rounds = self._bars.add_task("rounds", total=rounds, what="")
        self._nodes: dict[str, TaskID] = {
            # more would not fit on a terminal
            node: self._bars.add_task(node, total=1, what="")
            for node in nodes[:MOST_BARS]
        }

    def running(self) -> AbstractContextManager[Any]:
        return self._bars

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        total = self._bars.tasks[self._rounds].total
        self._bars.update(self._rounds, what=f"round {number} of {total:.0f}")
        if node not in self._nodes:
            return
        if progress is None:
            self._bars.update(self._nodes[node], what=stage)
        else:
            self._bars.update(
                self._nodes[node],
                total=progress.total,
                completed=progress.done,
                what=f"{stage}, loss {progress.loss:.4f}",
            )

    def on_notice(self, number: int, node: str, text: str) -> None:
        self._bars.console.print(notice_line(number, node, text), highlight=False, markup=False)
        if node in self._nodes:
            self._bars.update(self._nodes[node], completed=0, what=text.split(":")[0])

    def on_round(self, record: Round, state: Vector) -> None:
        self._bars.update(self._rounds, completed=record.number)
        self._bars.console.print(round_line(record), highlight=False)


Display = Lines | JsonLines | Bars


def make_display(rounds: int, nodes: list[str], as_json: bool) -> Display:
    """The display that suits where the output goes."""
    if as_json:
        return JsonLines()
    console = Console(stderr=True)
    return Bars(rounds, nodes, console) if console.is_terminal else Lines()


def print_table(table: Table) -> None:
    """A table on standard output; in full width where that is no terminal."""
    # No markup: paths, and what nodes say, may hold square brackets.
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, markup=False, emoji=False)
    console.print(table)


def metrics_table(title: str, each: dict[str, Metrics], overall: Metrics) -> Table:
    """Held-out metrics, a row a node and one for all nodes."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    table.add_column("node")
    for name in ("rows", "loss", "AUC %", "AP %", "precision %", "recall %", "F1 %"):
        table.add_column(name, justify="right")
    for name in ("TN", "FP", "FN", "TP"):
        table.add_column(name, justify="right")
    for node, metrics in [*each.items(), ("all", overall)]:
        table.add_row(node, *_cells(metrics))
    return table


def _cells(metrics: Metrics) -> list[str]:
    loss = "-" if metrics.loss is None else f"{metrics.loss:.4f}"
    areas = [metrics.roc_auc, metrics.average_precision]
    shares = [*areas, metrics.precision, metrics.recall, metrics.f1]
    wrong = [metrics.false_positives, metrics.false_negatives]
    confusion = [metrics.true_negatives, *wrong, metrics.true_positives]
    return [str(metrics.rows), loss, *map(percent, shares), *map(str, confusion)]


def rounds_table(records: list[Round]) -> Table:
    """A row a round: losses, metrics over all owners' held-out rows, seconds and bytes; and who
    was left out, where somebody was."""
    title = "Rounds (metrics on all owners' held-out rows)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    names = ["round", "train loss", "loss", "AUC %", "AP %", "precision %", "recall %", "F1 %"]
    for name in [*names, "seconds", "MB out", "MB in"]:
        table.add_column(name, justify="right")
    all_took_part = not any(record.without for record in records)
    if not all_took_part:
        table.add_column("left out", max_width=30)
    for record in records:
        table.add_row(
            str(record.number),
            f"{record.loss:.4f}",
            *_cells(record.metrics)[1:7],
            f"{record.seconds:.2f}",
            megabytes(sum(node.bytes_sent for node in record.nodes)),
            megabytes(sum(node.bytes_received for node in record.nodes)),
            *([] if all_took_part else [", ".join(sorted(record.without))]),
        )
    return table
