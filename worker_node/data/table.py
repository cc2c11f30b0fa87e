"""Rows of named or numbered columns: what every format becomes before columns are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import overload

KEPT_ROWS = 2001
"""First rows of a table that are looked at again and again: a header, and what columns hold."""


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


@dataclass
class Broken:
    """Where the rest of a file could not be taken apart, once that is known.

    line, why: where the row began, and what is wrong; why is "" where nothing is.
    """

    line: int = 0
    why: str = ""


class RowsAsRead(Sequence[Row]):
    """Rows that are taken apart whenever they are gone through, and held by nobody.

    Args:
        read: begins anew.
    """

    def __init__(self, read: Callable[[], Iterator[Row]]) -> None:
        self._read = read
        self._first: list[Row] | None = None

    def __iter__(self) -> Iterator[Row]:
        return self._read()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self[:1])

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if self._first is None:
            self._first = list(islice(self._read(), KEPT_ROWS))
        if isinstance(index, int) and 0 <= index < len(self._first):
            return self._first[index]
        if isinstance(index, slice) and index.indices(KEPT_ROWS) == (0, index.stop, 1):
            return self._first[: index.stop]
        return list(self)[index]


@dataclass(frozen=True)
class Table:
    """A file's rows.

    header: the columns' names, None where the file has none.
    unit: what a row's number counts: line, row, item or file.
    format: what the file is, for people.
    broken: whether all could be taken apart; to be asked once the rows were gone through.
    """

    header: tuple[str, ...] | None
    rows: Sequence[Row]
    format: str
    unit: str = "line"
    broken: Broken = field(default_factory=Broken)

    @property
    def width(self) -> int:
        """The number of columns."""
        if self.header is not None:
            return len(self.header)
        first = max((len(row.cells) for row in self.rows[:KEPT_ROWS]), default=0)
        return first or max((len(row.cells) for row in self.rows), default=0)

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
