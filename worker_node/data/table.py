"""Rows of named or numbered columns: what every format becomes before columns are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row as found.

    line: where it begins, in the table's unit, from 1.
    cells: a value a column; None where there is none, or what is there is no text.
    problem: what kept the row from being taken apart; "" where nothing did.
    """

    line: int
    cells: Sequence[str | None] = ()
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A file's rows.

    header: the columns' names, None where the file has none.
    unit: what a row's number counts: line, row, item or file.
    format: what the file is, for people.
    broken: where and why the rest of the file could not be taken apart; None where all was.
    """

    header: tuple[str, ...] | None
    rows: Sequence[Row]
    format: str
    unit: str = "line"
    broken: tuple[int, str] | None = None

    @property
    def width(self) -> int:
        """The number of columns."""
        if self.header is not None:
            return len(self.header)
        return max((len(row.cells) for row in self.rows), default=0)

    def name(self, column: int) -> str:
        """What a column is called to people: its name, or its number from 1."""
        if self.header is not None and self.header[column].strip():
            return self.header[column].strip()
        return str(column + 1)


def as_cell(value: object) -> str | None:
    """A value of a typed format as text; None for what is no text, as a list is."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if value != value:  # not a number: how a table's empty cell is written
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else None
