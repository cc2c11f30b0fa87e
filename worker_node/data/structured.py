"""Formats that say themselves what a value is: JSON, Parquet and Excel's workbooks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shared.errors import DataError, UsageError
from shared.extras import how_to_install
from shared.reading.long_text import LongText
from shared.reading.memory_file import MemoryFile
from worker_node.data.columns import with_header
from worker_node.data.labels import Meanings
from worker_node.data.table import Row, RowsAsRead, Table, as_cell

TABLES = "tables"
"""The extra whose packages read Parquet and Excel."""
_PARQUET_ROWS = 8192
"""Rows that are in memory at a time."""


def read_json_lines(text: LongText) -> Table:
    """One object a line; a line that is none is a row with a problem."""

    def found() -> Iterator[tuple[int, object]]:
        lines = ((number, line) for number, line in enumerate(text.lines(), 1) if line.strip())
        return ((number, _parsed(line)) for number, line in lines)

    header = _keys(value for _, value in found())
    return Table(header, RowsAsRead(lambda: _rows(found(), header, "line")), "JSON lines", "line")


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _BROKEN


_BROKEN = object()


def read_json_array(text: str, source: str) -> Table:
    """One array of objects.

    Raises:
        DataError: it is no such array.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        # the message of a ValueError names line and column, and no text
        raise DataError(f"{source} is not JSON", str(error), "Write it anew.") from error
    if not isinstance(values, list):
        raise DataError(
            f"{source} holds no list of messages",
            f"it is one {type(values).__name__}",
            'Expected a list of objects, [{"label": "spam", "text": "..."}, ...], or one a line.',
        )
    return _of_objects(list(enumerate(values, start=1)), "JSON array", "item")


def _of_objects(found: list[tuple[int, object]], file_format: str, unit: str) -> Table:
    header = _keys(value for _, value in found)
    return Table(header, list(_rows(found, header, unit)), file_format, unit)


def _keys(values: Iterable[object]) -> tuple[str, ...]:
    """The names in all objects, in the order in which they are met."""
    return tuple(dict.fromkeys(key for one in values if isinstance(one, Mapping) for key in one))


def _rows(found: Iterable[tuple[int, object]], header: tuple[str, ...], unit: str) -> Iterator[Row]:
    return (Row(number, *_cells(value, header, unit)) for number, value in found)


def _cells(value: object, header: tuple[str, ...], unit: str) -> tuple[list[str | None], str]:
    if value is _BROKEN:
        return [], f"the {unit} is not JSON"
    if not isinstance(value, Mapping):
        return [], f"the {unit} is no object"
    return [as_cell(value.get(name)) for name in header], ""


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
    """The rows of a workbook's first sheet.

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
        sheet = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (python_calamine.CalamineError, OSError, ValueError, IndexError) as error:
        raise DataError(f"{source} is no Excel workbook", _first_line(error)) from error
    name = f"Excel, sheet {workbook.sheet_names[0]!r}"
    rows = list(_sheet_rows(sheet))
    return with_header(rows, "row", name, Meanings(spam))


def _sheet_rows(sheet: Iterable[Iterable[Any]]) -> Iterable[Row]:
    for number, values in enumerate(sheet, start=1):
        cells = [as_cell(value) for value in values]
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
