"""Tables that say themselves what a value is: Parquet and Excel's workbooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from shared.errors import DataError, UsageError
from shared.extras import how_to_install
from shared.reading.memory_file import MemoryFile
from worker_node.data.columns import with_header
from worker_node.data.labels import Meanings
from worker_node.data.table import KEPT_ROWS, Row, RowsAsRead, Table, as_cell

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

TABLES = "tables"
"""The extra whose packages read Parquet and Excel."""
_PARQUET_ROWS = 8192
"""Rows that are in memory at a time."""


def read_parquet(file: MemoryFile, source: str) -> Table:
    """A Parquet file's rows, some thousand in memory at a time.

    Raises:
        UsageError: pyarrow is not installed.
        DataError: the file is damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise _missing("Parquet", "pyarrow") from error
    with _as_data_error(source):
        names = pyarrow.parquet.ParquetFile(file.opened()).schema_arrow.names
    return Table(tuple(names), RowsAsRead(lambda: _parquet_rows(file, source)), "Parquet", "row")


def _parquet_rows(file: MemoryFile, source: str) -> Iterator[Row]:
    from pyarrow.parquet import ParquetFile

    number = 1
    with _as_data_error(source):
        for batch in ParquetFile(file.opened()).iter_batches(_PARQUET_ROWS):
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield Row(number, [as_cell(value) for value in values])
                number += 1


@contextmanager
def _as_data_error(source: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source} is no Parquet file", _first_line(error)) from error


def read_excel(file: MemoryFile, source: str, spam: tuple[str, ...] = ()) -> Table:
    """The rows of a workbook's first sheet, one by one out of the package's own memory.

    Raises:
        UsageError: python-calamine is not installed.
        DataError: the file is damaged, or has no sheet.
    """
    try:
        import python_calamine
    except ImportError as error:
        raise _missing("Excel", "python-calamine") from error
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(file.opened())
        sheet = workbook.get_sheet_by_index(0)
    except (python_calamine.CalamineError, OSError, ValueError, IndexError) as error:
        raise DataError(f"{source} is no Excel workbook", _first_line(error)) from error
    name = f"Excel, sheet {workbook.sheet_names[0]!r}"
    rows = RowsAsRead(lambda: _sheet_rows(sheet))
    table = with_header(rows[:KEPT_ROWS], "row", name, Meanings(spam))
    if table.header is not None:
        rows = RowsAsRead(lambda: islice(_sheet_rows(sheet), 1, None))
    return Table(table.header, rows, name, "row")


def _sheet_rows(sheet: CalamineSheet) -> Iterator[Row]:
    empty = [""] * (sheet.start[1] if sheet.start else 0)  # columns that the package leaves out
    for number, values in enumerate(sheet.iter_rows(), start=1):
        cells = empty + [as_cell(value) for value in values]
        if any(cells):
            yield Row(number, cells)


def _missing(what: str, package: str) -> UsageError:
    return UsageError(
        f"reading {what} needs the package {package}",
        "it is not installed here",
        how_to_install(TABLES),
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
