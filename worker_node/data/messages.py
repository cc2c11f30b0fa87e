"""An owner's messages, read and checked row by row.

Errors name file, line and reason and never show a text: they may end in a log that others read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import DataError
from worker_node.data.backup_labels import labelled
from worker_node.data.columns import Columns, find_columns
from worker_node.data.formats import Format, Layout, read_file
from worker_node.data.labelled_folders import labelled_folders, read_folders
from worker_node.data.labels import HAM, LABELS, SPAM, label_name
from worker_node.data.packed_messages import Message, PackedMessages
from worker_node.data.table import Row, Table

__all__ = ["LABELS", "MAX_CHARACTERS", "Format", "Layout", "Message", "Reading", "read_messages"]

# No SMS is near it (39,015 characters are the most), but mails are.
MAX_CHARACTERS = 1_000_000
TOLD_ROWS = 10_000

OnRows = Callable[[int], None]
UNKNOWN = "unknown"
"""Where a skipped row's label is neither ham nor spam, or cannot be told."""
NOT_A_LABEL = "the label is neither ham nor spam"

_SHOWN_VALUES = 4

Skipped = Mapping[str, Mapping[str, int]]
"""Bad rows that were passed over, by reason, then by label: ham, spam or unknown."""


@dataclass(frozen=True)
class Reading:
    """What a file held.

    skipped: empty unless skipping was asked for.
    described: how the file was read, one line.
    """

    messages: PackedMessages
    skipped: Skipped = field(default_factory=dict)
    described: str = ""


@dataclass(frozen=True, slots=True)
class _Checked:
    """A row's label, None where it is none, its text, and what is wrong with it."""

    row: Row
    label: int | None
    text: str
    problem: str


def read_messages(
    path: Path,
    layout: Layout | None = None,
    *,
    skip_bad_lines: bool = False,
    on_rows: OnRows = lambda rows: None,
) -> Reading:
    """Reads all messages of a file, or of a folder with folders ham and spam.

    Args:
        path: a regular file of no more bytes than the layout says, also unpacked.
        layout: what the owner says of it; what they do not say is found out.
        skip_bad_lines: counts bad rows by reason and label instead of stopping at the first one.
        on_rows: called with the rows read so far, after each TOLD_ROWS of them.

    Raises:
        UsageError: the layout names a column or an encoding that is not there.
        DataError: the file cannot be read or understood, a row is bad, or no row is a message.
    """
    layout = layout or Layout()
    table, described = _table(path, layout)
    if not table.rows:
        _check_whole(path, table)
        raise DataError(f"{path} holds no message", "it has no rows", _EXPECTED)
    columns = _columns(path, table, layout)
    messages = PackedMessages()
    skipped: dict[str, Counter[str]] = {}
    values: dict[int, set[str]] = {HAM: set(), SPAM: set()}
    for number, one in enumerate(_checked_rows(table, columns), start=1):
        if number % TOLD_ROWS == 0:
            on_rows(number)
        if one.label is not None and len(values[one.label]) < _SHOWN_VALUES:
            values[one.label].add((one.row.cells[columns.label] or "").strip())
        if not one.problem and one.label is not None:
            messages.add(one.label, one.text)
        elif skip_bad_lines:
            skipped.setdefault(one.problem, Counter())[_by_label(one.label)] += 1
        else:
            raise _bad_row(path, table, one, columns)
    _check_whole(path, table)
    if not messages:
        found = ", ".join(f"{sum(n.values())} x {problem}" for problem, n in skipped.items())
        raise DataError(f"{path} holds no message", found, _EXPECTED)
    counts = {problem: dict(by_label) for problem, by_label in skipped.items()}
    return Reading(messages, counts, _described(table, columns, described, values))


_EXPECTED = (
    "Expected a row a message with its text and ham or spam: tab-separated, CSV, JSON or a table."
)


def _table(path: Path, layout: Layout) -> tuple[Table, str]:
    """The rows, and what is to be said of them beside their columns."""
    if path.is_dir() and labelled_folders(path):
        table, encoding = read_folders(path, layout.encoding, layout.most_bytes)
        return table, f"{table.format}, labels from the folders' names; {encoding}"
    found = read_file(path, layout)
    if found.backup is not None:
        return labelled(path, found.backup, layout)
    assert found.table is not None
    return found.table, "; ".join(part for part in (found.table.format, found.encoding) if part)


def _columns(path: Path, table: Table, layout: Layout) -> Columns:
    if table.format == "SMS backup":  # what the owner names is in the file of labels
        return find_columns(table, str(path), spam=layout.spam, text="text", label="label")
    return find_columns(
        table,
        str(path),
        text=layout.text_column,
        label=layout.label_column,
        spam=layout.spam,
    )


def _checked_rows(table: Table, columns: Columns) -> Iterator[_Checked]:
    for row in table.rows:
        cells = row.cells
        value = cells[columns.label] if columns.label < len(cells) else None
        text = cells[columns.text] if columns.text < len(cells) else None
        label = columns.meanings.of(value or "")
        problem = row.problem or ("" if label is not None else NOT_A_LABEL) or problem_of(text)
        yield _Checked(row, label, text or "", problem)


def problem_of(text: str | None) -> str:
    """What is wrong with an owner's text, "" where nothing is. Never tells the text."""
    if text is None:
        return "what is in the column of texts is no text"
    if not text.strip():
        return "the text is empty"
    if len(text) > MAX_CHARACTERS:
        return f"the text is longer than {MAX_CHARACTERS:,} characters"
    if "\0" in text:
        return "the text holds a NUL character"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "the text has bytes that its encoding has no character for"
    return ""


def _by_label(label: int | None) -> str:
    return UNKNOWN if label is None else label_name(label)


def _bad_row(path: Path, table: Table, one: _Checked, columns: Columns) -> DataError:
    problem = one.problem
    value = one.row.cells[columns.label] if columns.label < len(one.row.cells) else None
    # A mistyped label helps its reader; where columns are swapped, the "label" is the message.
    if problem == NOT_A_LABEL and value and value.isalnum() and len(value) < 10:
        problem = f"{problem}: {value!r}"
    return DataError(
        f"{path}, {table.unit} {one.row.line}",
        problem,
        "Mend it, or skip such rows with --skip-bad-lines, which counts them by label. Another "
        "column, value or encoding is named with --text-column, --label-column, --spam, "
        "--encoding.",
    )


def _check_whole(path: Path, table: Table) -> None:
    if table.broken.why:
        line, why = table.broken.line, table.broken.why
        raise DataError(
            f"{path}, line {line}",
            why,
            "Mend the quotes there; no row behind it can be told apart. Where quotes mean nothing "
            "in the file, give --format tsv.",
        )


def _described(
    table: Table, columns: Columns, described: str, values: Mapping[int, set[str]]
) -> str:
    """As "reads column v2 as text, v1 as label: ham, spam; CSV, comma-separated; cp1252"."""
    if table.header == ("label", "text") and table.unit in ("file", "message"):
        return f"reads {described}"
    named = ", ".join(_told(name, values[meaning]) for name, meaning in LABELS.items())
    text, label_name = table.name(columns.text), table.name(columns.label)
    return f"reads column {text} as text, {label_name} as label: {named}; {described}"


def _told(name: str, values: set[str]) -> str:
    if not values:
        return f"no {name}"
    if values == {name}:
        return name
    return f"{'/'.join(sorted(values))} is {name}"
