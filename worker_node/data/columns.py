"""Which column of a table holds the texts, and which their labels.

By what the owner says; else by the columns' names, as far as what they hold bears the name out;
else by what they hold. Where two columns are as likely, the answer is an error that shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import DataError, UsageError
from worker_node.data.labels import (
    SPAM,
    Meanings,
    asks_for_ham,
    plain_value,
    says_yes_or_no,
)
from worker_node.data.table import Row, Table

LABEL_NAMES = (
    *("label", "labels", "category", "class", "type", "target", "spam", "is_spam", "isspam"),
    *("is spam", "spam/ham", "v1", "tag", "y", "email type"),
)
TEXT_NAMES = (
    *("text", "texts", "message", "messages", "sms", "content", "body", "v2", "msg", "email"),
    *("mail", "comment", "message_body", "message body", "sms text", "sms_text", "email text"),
    *("text message", "text_message", "message text", "message_text", "tweet", "x"),
)
_LOOKED_AT = 2000
_MOSTLY = 0.5
"""The share of a column's values that must be labels for it to be taken for one."""
_LONGER = 3.0
"""How many times longer the texts of a column without a known name are than any other's."""
_FEW, _SHORT, _OFTEN = 6, 20, 8
"""Values that may be shown: so few, so short ones, and each so often, are no messages."""


@dataclass(frozen=True)
class Columns:
    """Where text and label stand, and what the label's values mean."""

    text: int
    label: int
    meanings: Meanings


def with_header(rows: Sequence[Row], unit: str, file_format: str, meanings: Meanings) -> Table:
    """A table whose first row is its header where that row says so.

    It does where it names a column by a name that people use, or holds no label where the others
    do.
    """
    table = Table(None, rows, file_format, unit)
    if not rows:
        return table
    first = [plain_value(cell or "") for cell in rows[0].cells]
    names = sum(cell in LABEL_NAMES for cell in first) + sum(cell in TEXT_NAMES for cell in first)
    labels = [
        column
        for column in range(len(first))
        if _share(table, column, meanings) >= _MOSTLY
        and (not meanings.spam or _holds_spam(table, column, meanings))
    ]
    headless = any(_is_value(table, column, first[column], meanings) for column in labels)
    if names >= 2 or (len(rows) > 1 and not headless and (labels or names)):
        header = tuple(cell or "" for cell in rows[0].cells)
        return Table(header, rows[1:], file_format, unit)
    return table


def _is_value(table: Table, column: int, value: str, meanings: Meanings) -> bool:
    """Whether what stands in the first row is a label, and no name of a column of labels."""
    values = [plain_value(one) for one in _values(table, column).elements()]
    if values.count(value) > 1 or (meanings.spam and meanings.of(value) == SPAM):
        return True
    # "spam" above zeros and ones is their question
    others = [one for one in values if one != value]
    return not meanings.spam and meanings.of(value) is not None and not says_yes_or_no(others)


def find_columns(
    table: Table,
    source: str,
    *,
    text: str | None = None,
    label: str | None = None,
    spam: tuple[str, ...] = (),
) -> Columns:
    """The columns of text and label.

    Args:
        source: the file's name, for errors.
        text, label: what the owner says, names or numbers from 1; None finds out.
        spam: values of the label that mean spam; the others are ham then.

    Raises:
        UsageError: there is no column that was named.
        DataError: it cannot be told which it is.
    """
    meanings = Meanings(spam)
    # found first: the column of labels is told by its values, and is then none of the texts
    texts = None if text is None else _named(table, text, source, "--text-column")
    if label is not None:
        labels = _named(table, label, source, "--label-column")
    else:
        labels = _find_label(table, source, meanings, other=texts)
    if texts is None:
        texts = _find_text(table, source, other=labels)
    _check_sense(table, labels, source, meanings)
    return Columns(texts, labels, meanings)


def _named(table: Table, name: str, source: str, flag: str) -> int:
    plain = plain_value(name)
    header = [plain_value(one) for one in table.header or ()]
    if header.count(plain) == 1:
        return header.index(plain)
    if plain.isdecimal() and 1 <= int(plain) <= table.width:
        return int(plain) - 1
    several = "more than one column" if plain in header else "no column"
    raise UsageError(
        f"{source} has {several} {name!r}, which {flag} names",
        shown(table),
        f"Give {flag} a column's name, or its number from 1.",
    )


def _find_label(table: Table, source: str, meanings: Meanings, other: int | None) -> int:
    able = [
        column
        for column in range(table.width)
        if column != other and _share(table, column, meanings) >= _MOSTLY
    ]
    named = [column for column in able if plain_value(table.name(column)) in LABEL_NAMES]
    if meanings.spam:  # any value is ham or spam then, so the names and the spam itself decide
        able = [column for column in able if _holds_spam(table, column, meanings)]
        named = [column for column in named if column in able]
    for found in (named, able):
        if len(found) == 1:
            return found[0]
        if found:
            best = max(_share(table, column, meanings) for column in found)
            if best > 0.9 and sum(_share(table, c, meanings) > 0.9 for c in found) == 1:
                return max(found, key=lambda column: _share(table, column, meanings))
            break
    why = "more than one column holds labels" if able else "no column's values are known labels"
    raise DataError(
        f"cannot tell which column of {source} is the label",
        f"{why}; {shown(table)}",
        "Name it with --label-column, and the text with --text-column; say with --spam VALUE what "
        "stands for spam. Known are ham, spam, ok, junk, 0, 1, true and false.",
    )


def _find_text(table: Table, source: str, other: int) -> int:
    columns = [column for column in range(table.width) if column != other]
    named = [column for column in columns if plain_value(table.name(column)) in TEXT_NAMES]
    if len(named) == 1:
        return named[0]
    lengths = {column: _mean_length(table, column) for column in named or columns}
    filled = sorted((column for column in lengths if lengths[column]), key=lambda c: -lengths[c])
    if len(filled) == 1 or (len(filled) > 1 and lengths[filled[0]] >= _LONGER * lengths[filled[1]]):
        return filled[0]
    raise DataError(
        f"cannot tell which column of {source} is the text",
        f"{'several may be' if filled else 'none holds any'}; {shown(table)}",
        "Name it with --text-column.",
    )


def _check_sense(table: Table, label: int, source: str, meanings: Meanings) -> None:
    if table.header is None or meanings.spam:
        return
    if asks_for_ham(table.name(label), list(_values(table, label))):
        raise DataError(
            f"cannot tell what column {table.name(label)!r} of {source} means",
            "its name asks for ham, and its values say yes or no",
            "Say which value is spam, as with --spam 0.",
        )


def shown(table: Table) -> str:
    """The columns for an error, with values only where they can be no messages."""
    parts = []
    for column in range(table.width):
        values = _values(table, column)
        number = sum(values.values())
        few = len(values) <= _FEW and number >= _OFTEN * len(values)
        few = few and plain_value(table.name(column)) not in TEXT_NAMES
        if not number:
            what = "empty"
        elif few and all(len(value) <= _SHORT and value.isprintable() for value in values):
            what = "/".join(sorted(values))
        else:
            what = f"{_mean_length(table, column):.0f} characters on average"
        parts.append(f"{table.name(column)!r} ({what})")
    return f"its columns are {', '.join(parts[:20])}" if parts else "it has no columns"


def _values(table: Table, column: int) -> Counter[str]:
    """How often each value that is not empty stands in a column's first rows."""
    cells = (row.cells[column] for row in table.rows[:_LOOKED_AT] if column < len(row.cells))
    return Counter(cell.strip() for cell in cells if cell and cell.strip())


def _share(table: Table, column: int, meanings: Meanings) -> float:
    values = _values(table, column)
    known = sum(count for value, count in values.items() if meanings.of(value) is not None)
    return known / max(1, sum(values.values()))


def _holds_spam(table: Table, column: int, meanings: Meanings) -> bool:
    return any(meanings.of(value) for value in _values(table, column))


def _mean_length(table: Table, column: int) -> float:
    values = _values(table, column)
    number = sum(values.values())
    # of all rows: a column that is mostly empty is no column of texts
    rows = sum(1 for row in table.rows[:_LOOKED_AT] if not row.problem)
    return sum(len(value) * count for value, count in values.items()) / max(1, rows, number)
