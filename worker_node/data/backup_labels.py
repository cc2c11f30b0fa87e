"""A phone's backup has messages without labels; a second file says which are spam.

That file is a table in any format that a node reads, with a column of labels and a column `date`
(the backup's milliseconds) or one of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shared.errors import DataError, UsageError
from shared.reading.long_text import LongText
from shared.reading.sms_backup import BackedUp, received
from worker_node.data.columns import find_columns
from worker_node.data.formats import Layout, read_file
from worker_node.data.table import Row, RowsAsRead, Table

NO_LABEL = "the file of labels has no label for it"


def labelled(path: Path, backup: LongText, layout: Layout) -> tuple[Table, str]:
    """The backup's received messages as a table of label and text, and what was read.

    Raises:
        UsageError: no file of labels is named.
        DataError: one of the files is damaged, or the labels have no date and no text.
    """
    next(received(backup, str(path)), None)  # what is no backup needs no labels
    if layout.labels is None:
        raise UsageError(
            f"{path} says of no message whether it is spam",
            "it is a backup that SMS Backup & Restore made",
            "Name a table of labels with --labels FILE: a column label, and one called date with "
            "the backup's dates, or one with the texts.",
        )
    labels, by_date = _labels(layout.labels, layout)

    def rows() -> Iterator[Row]:
        for number, one in enumerate(received(backup, str(path)), start=1):
            label = _label_of(one, labels, by_date)
            yield Row(number, (label, one.text), "" if label else NO_LABEL)

    how = "date" if by_date else "text"
    table = Table(("label", "text"), RowsAsRead(rows), "SMS backup", "message")
    return table, f"received messages of an SMS backup, labels from {layout.labels} by {how}"


def _label_of(message: BackedUp, labels: dict[str, str], by_date: bool) -> str:
    return labels.get(message.date if by_date else message.text.strip(), "")


def _labels(path: Path, layout: Layout) -> tuple[dict[str, str], bool]:
    """Labels by date, or by text; and whether they are by date."""
    table = read_file(path, Layout(spam=layout.spam, most_bytes=layout.most_bytes)).table
    if table is None:
        raise DataError(f"{path} holds no labels", "it is a backup", "Name a table of labels.")
    dated = [name.strip().lower() for name in table.header or ()].count("date") == 1
    columns = find_columns(
        table,
        str(path),
        text="date" if dated else layout.text_column,
        label=layout.label_column,
        spam=layout.spam,
    )
    pairs = [
        (row.cells[columns.text] or "", row.cells[columns.label] or "")
        for row in table.rows
        if not row.problem
    ]
    return {key.strip(): value.strip() for key, value in pairs}, dated
