"""Tables that show every word and number whole, whatever the width of the terminal.

A table that is too wide gets narrower headings; one that still is gets fewer columns, and its
further columns follow in a table below, beside the first column again. Only text that may be
wrapped is.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

PIPED_WIDTH = 200
"""Columns where the output goes to no terminal; more where a table needs more."""
WRAPPED_WIDTH = 30
"""Columns that text has at least which is wrapped."""


@dataclass(frozen=True)
class Column:
    """One column: its heading, and a cell a row.

    narrow: the heading where there is little room; lines may be broken. "" is the heading itself.
    right: numbers, which stand on the right. wraps: text that may go on in the next line.
    """

    name: str
    cells: Sequence[str]
    narrow: str = ""
    right: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Fitted:
    """A table before its width is known. The first column names the row."""

    title: str
    columns: Sequence[Column]

    def tables(self, console: Console) -> Iterator[Table]:
        """One table or more, none wider than the console."""
        first, *others = self.columns
        whole = _table(self.title, self.columns, narrow=False)
        if _width(whole, console) <= console.width:
            yield whole
            return
        title = self.title
        while others:
            count = _how_many_fit(first, others, console)
            yield _table(title, [first, *others[:count]], narrow=True, most=console.width)
            title, others = "", others[count:]


def as_text(fitted: Fitted) -> str:
    """The table in plain characters, as wide as it needs to be; no line ends with blanks."""
    # in a notebook rich would show the table there and then, and give no text
    console = Console(
        file=io.StringIO(), color_system=None, markup=False, emoji=False, force_jupyter=False
    )
    console.width = _width(_table(fitted.title, fitted.columns, narrow=False), console)
    for table in fitted.tables(console):
        console.print(table)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in written.strip("\n").splitlines())


def print_table(fitted: Fitted) -> None:
    """Prints it on standard output, as wide as the terminal is; no line ends with blanks."""
    # No markup: paths, and what nodes say, may hold square brackets.
    console = Console(markup=False, emoji=False, highlight=False)
    if not sys.stdout.isatty():
        whole = _table(fitted.title, fitted.columns, narrow=False)
        console.width = max(PIPED_WIDTH, _width(whole, console))
    for table in fitted.tables(console):
        shown = Console(
            file=io.StringIO(),
            width=console.width,
            force_terminal=console.is_terminal,
            no_color=console.no_color,
            markup=False,
            emoji=False,
            highlight=False,
        )
        shown.print(table)
        written = shown.file.getvalue()  # type: ignore[attr-defined]
        sys.stdout.write("".join(f"{line.rstrip()}\n" for line in written.splitlines()))


def _how_many_fit(first: Column, others: Sequence[Column], console: Console) -> int:
    """How many of the other columns have room beside the first; one, even where it has none."""
    count = 1
    while count < len(others):
        wider = _table("", [first, *others[: count + 1]], narrow=True)
        if _width(wider, console) > console.width:
            break
        count += 1
    return count


def _width(table: Table, console: Console) -> int:
    """Columns that a table needs, where what may be wrapped is wrapped if it must be."""
    unbounded = console.options.update(width=10_000)
    return Measurement.get(console, unbounded, table).maximum


def _table(
    title: str, columns: Sequence[Column], *, narrow: bool, most: int | None = None
) -> Table:
    """Args: most: the width that even a table of two columns must not pass; None sets none."""
    table = Table(
        title=title or None,
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 0) if narrow else (0, 1),
    )
    beside = min(_longest(columns[0]), (most or 0) // 2)
    for place, column in enumerate(columns):
        room = None
        if most is not None and len(columns) == 2:
            room = most // 2 if place == 0 else most - beside - _EDGES
        if narrow and column.wraps:
            room = min(room or WRAPPED_WIDTH, WRAPPED_WIDTH) if len(columns) > 2 else room
        wraps = column.wraps or (room is not None and _longest(column) > room)
        table.add_column(
            (narrow and column.narrow) or column.name,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not wraps,
            max_width=room if wraps else None,
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


_EDGES = 4
"""Columns that the frame of a table of two takes."""


def _longest(column: Column) -> int:
    return max(map(len, [*column.cells, *(column.narrow or column.name).splitlines()]))
