"""Messages as JSON: an object a line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping

from shared.errors import DataError
from shared.reading.long_text import LongText
from worker_node.data.json_array import NoArray, items_of
from worker_node.data.table import Row, RowsAsRead, Table, as_cell

Numbered = Iterator[tuple[int, object]]

_BROKEN = object()


def read_json_lines(text: LongText) -> Table:
    """One object a line; a line that is none is a row with a problem."""

    def found() -> Numbered:
        lines = ((number, line) for number, line in enumerate(text.lines(), 1) if line.strip())
        return ((number, _parsed(line)) for number, line in lines)

    return _of_objects(found, "JSON lines", "line")


def _parsed(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return _BROKEN


def read_json_array(text: LongText, source: str) -> Table:
    """One array of objects, of which one is in memory at a time.

    Raises:
        DataError: it is no such array.
    """

    def items() -> Numbered:
        return enumerate(items_of(text), start=1)

    try:
        return _of_objects(items, "JSON array", "item")
    except NoArray as found:
        raise DataError(
            f"{source} holds no list of messages",
            f"it is one {found}",
            'Expected a list of objects, [{"label": "spam", "text": "..."}, ...], or one a line.',
        ) from found
    except (ValueError, RecursionError) as error:
        # the message of a ValueError names line and column, and no text
        raise DataError(f"{source} is not JSON", str(error), "Write it anew.") from error


def _of_objects(found: Callable[[], Numbered], file_format: str, unit: str) -> Table:
    header = _keys(value for _, value in found())
    return Table(header, RowsAsRead(lambda: _rows(found(), header, unit)), file_format, unit)


def _keys(values: Iterable[object]) -> tuple[str, ...]:
    """The names in all objects, in the order in which they are met."""
    return tuple(dict.fromkeys(key for one in values if isinstance(one, Mapping) for key in one))


def _rows(found: Numbered, header: tuple[str, ...], unit: str) -> Iterator[Row]:
    return (Row(number, *_cells(value, header, unit)) for number, value in found)


def _cells(value: object, header: tuple[str, ...], unit: str) -> tuple[list[str | None], str]:
    if value is _BROKEN:
        return [], f"the {unit} is not JSON"
    if not isinstance(value, Mapping):
        return [], f"the {unit} is no object"
    return [as_cell(value.get(name)) for name in header], ""
