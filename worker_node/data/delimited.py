"""CSV and its relatives: which character separates, whether quotes mean anything, and the rows.

What separates is found by trial: the character under which most rows have a label and a text. The
SMS Spam Collection is tab-separated and has quotes that mean nothing; a table that a program wrote
with tabs has quotes around what holds one. They are told apart by whether the quotes are in order.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from shared.reading.long_text import LongText
from worker_node.data.columns import with_header
from worker_node.data.labels import Meanings
from worker_node.data.table import KEPT_ROWS, Broken, Row, RowsAsRead, Table

_NAMES = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}
_SAMPLE_ROWS = 400
_LONGEST_CELL = 2**28
NO_TAB = "there is no tab between label and text"


@dataclass(frozen=True)
class Dialect:
    """separator: one character. quoted: whether a quoted cell may hold it, and line breaks."""

    separator: str
    quoted: bool

    @property
    def name(self) -> str:
        kind = "CSV" if self.quoted else "plain lines"
        return f"{kind}, {_NAMES[self.separator]}-separated"


def read_delimited(
    text: LongText,
    spam: tuple[str, ...] = (),
    dialect: Dialect | None = None,
    quoted: bool | None = None,
) -> Table:
    """The rows of a text.

    Args:
        spam: values of the label that mean spam, where the owner named any.
        dialect: what the owner says it is; None finds out.
        quoted: whether quotes mean something; None finds out.
    """
    meanings = Meanings(spam)
    dialect = dialect or _find_dialect(text, meanings, quoted)
    if not dialect.quoted:
        return _plain(text, dialect, meanings)
    first = RowsAsRead(lambda: _parsed(text, dialect.separator, Broken()))[:KEPT_ROWS]
    table = with_header(first, "line", dialect.name, meanings)
    width = table.width if table.header is not None else _usual_width(first)
    named = _named(table.header or ())
    broken = Broken()

    def fitting() -> Iterator[Row]:
        rows = _parsed(text, dialect.separator, broken)
        for row in islice(rows, len(first) - len(table.rows), None):
            whole = _rejoined(row, named, width, dialect.separator) if 0 < named < width else row
            yield _checked(whole, width)

    return Table(table.header, RowsAsRead(fitting), dialect.name, "line", broken)


def _named(header: Sequence[str]) -> int:
    """Columns up to the last one with a name."""
    return max((place for place, name in enumerate(header, 1) if name.strip()), default=0)


def _rejoined(row: Row, named: int, width: int, separator: str) -> Row:
    """A row whose last named cell has back what spilled over into columns without a name.

    So somebody's unquoted text came apart: `v1,v2,,,` with a comma in the text of v2. Where the
    header has no such columns, a row with more cells is an error.
    """
    spilled = [cell or "" for cell in row.cells[named:]]
    while spilled and not spilled[-1].strip():
        spilled.pop()
    if not spilled or named + len(spilled) > width:
        return row
    whole = separator.join([row.cells[named - 1] or "", *spilled])
    return Row(row.line, (*row.cells[: named - 1], whole), row.problem)


def _checked(row: Row, width: int) -> Row:
    # a spreadsheet leaves out empty cells at a row's end
    if len(row.cells) < width and not row.problem and len(row.cells) < 2:
        return Row(row.line, (), _wrong_number(row, width))
    if len(row.cells) > width and any((cell or "").strip() for cell in row.cells[width:]):
        return Row(row.line, (), _wrong_number(row, width))
    if len(row.cells) < width:
        return Row(row.line, (*row.cells, *[""] * (width - len(row.cells))), row.problem)
    return row


def _wrong_number(row: Row, width: int) -> str:
    return f"there are {len(row.cells)} cells, not {width}"


def _parsed(text: LongText, separator: str, broken: Broken) -> Iterator[Row]:
    """Rows by RFC 4180, up to where the quoting breaks; then `broken` says where, and why."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(text.lines_with_ends(), delimiter=separator, strict=True)
    line = 1  # of the row that is being read; a quoted text may span lines
    try:
        for cells in reader:
            if any(cells):
                yield Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        # not a line that could be skipped: after a quote astray, no later line can be told apart
        broken.line, broken.why = line, f"broken quoting ({error})"


def _plain(text: LongText, dialect: Dialect, meanings: Meanings) -> Table:
    """Rows of a line each, whose last column holds whatever separators are left."""

    def lines() -> Iterator[tuple[int, str]]:
        return ((number, line) for number, line in enumerate(text.lines(), 1) if line.strip())

    first = [
        Row(number, line.split(dialect.separator)) for number, line in islice(lines(), KEPT_ROWS)
    ]
    table = with_header(first, "line", dialect.name, meanings)
    width = table.width if table.header is not None else _plain_width(first, meanings)
    problem = NO_TAB if width == 2 and dialect.separator == "\t" else ""

    def fitting() -> Iterator[Row]:
        for number, line in islice(lines(), len(first) - len(table.rows), None):
            cells = line.split(dialect.separator, width - 1)
            if len(cells) == width > 1:
                yield Row(number, cells)
            else:
                yield Row(number, (), problem or _wrong_number(Row(number, cells), width))

    return Table(table.header, RowsAsRead(fitting), dialect.name)


def _plain_width(rows: list[Row], meanings: Meanings) -> int:
    """Columns of lines without a header: label and text, unless the label does not come first."""
    sample = rows[:_SAMPLE_ROWS]
    first = sum(meanings.of(row.cells[0] or "") is not None for row in sample)
    return 2 if 2 * first >= len(sample) else max(2, _usual_width(rows))


def _usual_width(rows: Sequence[Row]) -> int:
    widths = Counter(len(row.cells) for row in rows[:_SAMPLE_ROWS])
    return widths.most_common(1)[0][0] if widths else 0


def _find_dialect(text: LongText, meanings: Meanings, quoted: bool | None) -> Dialect:
    best = max(_NAMES, key=lambda separator: _fit(text, separator, meanings))
    if quoted is None:
        quoted = best in ",;" or _quotes_are_in_order(text, best)
    return Dialect(best, quoted)


def _fit(text: LongText, separator: str, meanings: Meanings) -> tuple[int, int]:
    """How well a separator takes the first rows apart: rows with a label, and rows of one width."""
    if separator not in text:
        return (0, 0)
    rows = list(islice(_parsed(text, separator, Broken()), _SAMPLE_ROWS))
    lines = [line for line in islice(text.lines(), _SAMPLE_ROWS) if line.strip()]
    plain = [Row(0, line.split(separator)) for line in lines]
    fits = [_fit_of(found, meanings) for found in (rows, plain if separator in "\t|" else [])]
    return max(fits)


def _fit_of(rows: list[Row], meanings: Meanings) -> tuple[int, int]:
    width = _usual_width(rows)
    if width < 2:
        return (0, 0)
    table = with_header(rows, "line", "", meanings)
    column_fits = [
        sum(
            len(row.cells) > column and meanings.of(row.cells[column] or "") is not None
            for row in table.rows
        )
        for column in range(width)
    ]
    return (max(column_fits), sum(len(row.cells) == width for row in rows))


def _quotes_are_in_order(text: LongText, separator: str) -> bool:
    """Whether each quote is around a cell, or doubled within one, as a program writes them."""
    if '"' not in text:
        return False
    special, broken = (separator, '"', "\n", "\r"), Broken()
    needed = number = 0
    for row in _parsed(text, separator, broken):
        number += 1
        for cell in row.cells:
            if cell and any(one in cell for one in special):
                needed += 2 + 2 * cell.count('"')
    if broken.why:
        return False
    found = text.count('"')
    # exactly where they must be, or around all texts at least
    return found == needed or (found > needed and found >= 2 * number)
