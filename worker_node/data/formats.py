"""What a file is, told by what it holds, and its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.errors import DataError
from shared.reading.contents import MAX_BYTES, unpacked
from shared.reading.encodings import decode
from shared.reading.long_text import LongText
from shared.reading.memory_file import MemoryFile
from shared.reading.sms_backup import is_backup
from worker_node.data.delimited import Dialect, read_delimited
from worker_node.data.json_files import read_json_array, read_json_lines
from worker_node.data.structured import read_excel, read_parquet
from worker_node.data.table import Table

Format = Literal["tsv", "csv", "jsonl", "json", "parquet", "excel", "sms-backup"]

_PARQUET = b"PAR1"
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_ZIP = b"PK\x03\x04"
_NO_TEXT = {b"%PDF": "a PDF", b"{\\rtf": "RTF", b"\x89PNG": "a picture", b"SQLite": "a database"}
_HEAD = 2**12
RAISE_LIMIT = (
    "Raise the limit with --most-megabytes, where there is memory for some three times as much; or "
    "split it into several owners' files."
)


@dataclass(frozen=True)
class Layout:
    """What the owner says of a file; what they do not say is found out.

    text_column, label_column: names, or numbers from 1.
    spam: values of the label that mean spam; all others are ham then.
    encoding: any name that Python knows.
    labels: a table with the labels of a phone's backup (worker_node/data/backup_labels.py).
    most_bytes: that a file may hold, also unpacked; all files of a folder together.
    """

    format: Format | None = None
    text_column: str | None = None
    label_column: str | None = None
    spam: tuple[str, ...] = ()
    encoding: str | None = None
    labels: Path | None = None
    most_bytes: int = MAX_BYTES


@dataclass(frozen=True)
class Found:
    """A file's table, or the text of a phone's backup, and the encoding, "" where it has none."""

    table: Table | None = None
    backup: LongText | None = None
    encoding: str = ""


def read_file(path: Path, layout: Layout) -> Found:
    """The rows of a file of any format.

    Raises:
        UsageError: its format needs a package that is not installed.
        DataError: it cannot be read, or is damaged, or of no format that is known.
    """
    file = unpacked(path, layout.most_bytes, RAISE_LIMIT)
    source, spam = str(path), layout.spam
    kind = layout.format or _binary_format(file, path)
    if kind == "parquet":
        return Found(read_parquet(file, source))
    if kind == "excel":
        return Found(read_excel(file, source, spam))
    text = decode(file, layout.encoding)
    text_kind: str = kind or _text_format(text)
    if text_kind == "sms-backup":
        return Found(backup=text, encoding=text.encoding)
    readers: dict[str, Callable[[], Table]] = {
        "jsonl": lambda: read_json_lines(text),
        "json": lambda: read_json_array(text, source),
        "tsv": lambda: read_delimited(text, spam, Dialect("\t", quoted=False)),
        "csv": lambda: read_delimited(text, spam, quoted=True),
        "": lambda: read_delimited(text, spam),
    }
    table = readers[text_kind]()
    if layout.format is None and not table.rows and "\0" in text.head(_HEAD):
        raise _unknown(path, "it is no text")
    return Found(table, encoding=text.encoding)


def _binary_format(file: MemoryFile, path: Path) -> Format | None:
    data = file.read(0, _HEAD)
    if data.startswith(_PARQUET):
        return "parquet"
    if data.startswith((_OLD_EXCEL, _ZIP)):  # a .zip of something else is unpacked by now
        return "excel"
    for start, what in _NO_TEXT.items():
        if data.startswith(start):
            raise _unknown(path, f"it is {what}")
    return None


def _text_format(text: LongText) -> str:
    """A format's name; "" for lines of cells."""
    head = text.head(_HEAD).lstrip()
    if is_backup(head):
        return "sms-backup"
    if head.startswith("{"):
        return "jsonl"
    if head.startswith("[") and head[1:].lstrip()[:1] in ("{", "]", "["):
        return "json"
    return ""


def _unknown(path: Path, why: str) -> DataError:
    return DataError(
        f"cannot tell the format of {path}",
        why,
        "Save it as CSV, as tab-separated text, as JSON lines or as an Excel workbook.",
    )
