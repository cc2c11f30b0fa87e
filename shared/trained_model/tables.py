"""Tables of messages as they come: CSV or JSON lines in, the same rows with two columns more out.

The texts are in one column. The verdict and the probability of spam come behind the others; what
else is in a row stays as it is.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from shared.errors import DataError, UsageError
from shared.quoting import readable_json
from shared.trained_model.prediction import BATCH_ROWS, Verdict, seen

Format = Literal["csv", "jsonl"]
_SEPARATORS = ",\t;|"
_LONGEST_CELL = 2**28


class Rows(ABC):
    """The rows of one input, in batches of as many as are there.

    Args:
        lines: lists of whole lines without their ends, as they come.
        text: the name of the column of texts.
        added: the name of the column of verdicts; that of probabilities is `{added}_score`.
    """

    def __init__(self, lines: Iterable[list[str]], text: str, added: str) -> None:
        self._come = iter(lines)
        self._there: deque[str] = deque()
        self._text = text
        self._added = (added, f"{added}_score")
        self._number = 0

    @abstractmethod
    def batches(self) -> Iterator[tuple[list[str], list[Any]]]:
        """Texts, and the rows that they are from.

        Raises:
            UsageError: there is no such column, or there is one of an added column's name.
            DataError: a row has no text, or cannot be taken apart.
        """

    @abstractmethod
    def written(self, row: Any, verdict: Verdict) -> str:
        """A row with its verdict, without the end of a line."""

    def head(self) -> str | None:
        """What stands above all rows, once the first batch is there."""
        return None

    def _lines(self) -> Iterator[str]:
        while self._there or self._wait():
            self._number += 1
            yield self._there.popleft()

    def _wait(self) -> bool:
        """Waits until there are lines; False at the end."""
        while not self._there:
            some = next(self._come, None)
            if some is None:
                return False
            self._there += some
        return True

    def _batched(self, rows: Iterator[Any]) -> Iterator[list[Any]]:
        """Never waits for more while there are rows that could be answered."""
        batch: list[Any] = []
        for row in rows:
            batch.append(row)
            if not self._there or len(batch) == BATCH_ROWS:
                yield batch
                batch = []
        if batch:
            yield batch

    def _check_added(self, columns: Iterable[str]) -> None:
        for name in self._added:
            if name in columns:
                raise UsageError(
                    f"the table already has a column {name!r}",
                    next_step="Give the new column another name with --add-column.",
                )

    def _no_column(self, columns: Iterable[str]) -> UsageError:
        return UsageError(
            f"the table has no column {self._text!r}",
            f"its columns are {', '.join(map(repr, columns))}",
            "Name the column of texts with --text-column.",
        )

    def _bad(self, why: str) -> DataError:
        return DataError(
            f"line {self._number:,} of the messages", why, "Mend it; rows before it are answered."
        )


class CsvRows(Rows):
    """Cells by RFC 4180, below a line of names; tabs, semicolons and bars separate as well."""

    _columns: tuple[str, ...] = ()
    _separator = ","

    def batches(self) -> Iterator[tuple[list[str], list[Any]]]:
        csv.field_size_limit(_LONGEST_CELL)
        if not self._wait():
            return
        first = self._there[0] = self._there[0].removeprefix("\ufeff")
        self._separator = max(_SEPARATORS, key=first.count)
        reader = csv.reader(
            (f"{line}\n" for line in self._lines()), delimiter=self._separator, strict=True
        )
        rows = self._read(reader)
        self._columns = tuple(next(rows, ()))
        if self._text not in self._columns:
            raise self._no_column(self._columns)
        self._check_added(self._columns)
        place = self._columns.index(self._text)
        for batch in self._batched(rows):
            yield [row[place] for row in batch], batch

    def _read(self, reader: Iterator[list[str]]) -> Iterator[list[str]]:
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise self._bad(f"broken quoting ({error})") from error
            if row is None:
                return
            if self._columns and row and len(row) != len(self._columns):
                raise self._bad(f"there are {len(row)} cells, not {len(self._columns)}")
            if row:
                yield row

    def head(self) -> str | None:
        return self._joined([*self._columns, *self._added])

    def written(self, row: list[str], verdict: Verdict) -> str:
        return self._joined([*row, verdict.label, f"{verdict.spam:.6f}"])

    def _joined(self, cells: list[str]) -> str:
        line = io.StringIO()
        # what ends a line is also what a cell is quoted for
        csv.writer(line, delimiter=self._separator, lineterminator="\r\n").writerow(cells)
        return line.getvalue().removesuffix("\r\n")


class JsonRows(Rows):
    """An object a line."""

    def batches(self) -> Iterator[tuple[list[str], list[Any]]]:
        for batch in self._batched(self._read()):
            yield [seen(row[self._text]) for row in batch], batch

    def _read(self) -> Iterator[dict[str, Any]]:
        for line in self._lines():
            if not line.strip():
                continue
            try:
                row = json.loads(line.removeprefix("\ufeff"))
            except (ValueError, RecursionError) as error:
                raise self._bad(f"it is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise self._bad("it is no object")
            if self._text not in row:
                raise self._no_column(row)
            if not isinstance(row[self._text], str):
                raise self._bad(f"{self._text!r} is no text")
            self._check_added(row)
            yield row

    def written(self, row: dict[str, Any], verdict: Verdict) -> str:
        label, score = self._added
        return readable_json({**row, label: verdict.label, score: round(verdict.spam, 6)})


KINDS: dict[Format, type[Rows]] = {"csv": CsvRows, "jsonl": JsonRows}
