"""How a run looks while it goes on: bars on a terminal, a line a round elsewhere, or JSON lines.

Progress goes to standard error, results to standard output. Bars need a terminal: in a container's
log they would be a page of control characters.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from server.display.words import notice_line, round_line
from server.rounds.records import Round
from shared.wire.commands import Progress

if TYPE_CHECKING:  # `status` shows a table without waiting for torch
    from shared.model.vectors import Vector


WIDE = 100
"""Columns of a terminal from which on bars are long; a narrow one needs the room for words."""
MAX_BARS = 20
"""Nodes that have a bar of their own."""


class Silent:
    """Nothing at all."""

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """Nobody looks."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        """The run folder's log has it."""

    def on_round(self, record: Round, state: Vector) -> None:
        """Whoever wants it has it from the run."""

    def running(self) -> AbstractContextManager[Any]:
        return nullcontext()


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
            BarColumn(bar_width=30 if console.width >= WIDE else 12),
            TaskProgressColumn(),
            TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._rounds = self._bars.add_task("rounds", total=rounds, what="")
        self._nodes: dict[str, TaskID] = {
            # more would not fit on a terminal
            node: self._bars.add_task(node, total=1, what="")
            for node in nodes[:MAX_BARS]
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
                what=stage if progress.loss is None else f"{stage}, loss {progress.loss:.4f}",
            )

    def on_notice(self, number: int, node: str, text: str) -> None:
        self._bars.console.print(notice_line(number, node, text), highlight=False, markup=False)
        if node in self._nodes:
            self._bars.update(self._nodes[node], completed=0, what=text.split(":")[0])

    def on_round(self, record: Round, state: Vector) -> None:
        self._bars.update(self._rounds, completed=record.number)
        self._bars.console.print(round_line(record), highlight=False)


Display = Silent | Lines | JsonLines | Bars


def make_display(rounds: int, nodes: list[str], as_json: bool) -> Display:
    """The display that suits where the output goes."""
    if as_json:
        return JsonLines()
    console = Console(stderr=True)
    return Bars(rounds, nodes, console) if console.is_terminal else Lines()
