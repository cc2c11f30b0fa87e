"""An owner's file of messages, read and checked line by line.

Three formats, told by the end of the file's name:

    .tsv .txt .tab, none     label<TAB>text, no header: as the SMS Spam Collection comes
    .csv                     a header with the columns label and text; RFC 4180 quoting
    .jsonl .ndjson           one object a line: {"label": "spam", "text": "..."}

A label is ham or spam. Errors name file, line and reason and never show a text: they may end in a
log that others read.
"""

from __future__ import annotations

import csv
import json
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from shared.errors import DataError

Format = Literal["tsv", "csv", "jsonl"]
LABELS = {"ham": 0, "spam": 1}

# The longest concatenated SMS has 255 parts of 153 characters, 39,015 in all.
MAX_CHARACTERS = 40_000
MAX_BYTES = 256 * 2**20

_ENDINGS: dict[str, Format] = {
    "": "tsv",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_EXPECTED: dict[Format, str] = {
    "tsv": "Expected one message a line: ham or spam, a tab, the text.",
    "csv": "Expected a header with the columns label and text, and ham or spam as label.",
    "jsonl": 'Expected one object a line: {"label": "ham" or "spam", "text": "..."}.',
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an owner. label: 0 is ham, 1 is spam."""

    label: int
    text: str


@dataclass(frozen=True)
class Reading:
    """What a file held.

    skipped: bad lines that were passed over, counted by reason; empty unless that was asked for.
    """

    messages: tuple[Message, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    """label and text as found, unchecked, or the problem that kept them from being found."""

    line: int
    label: str = ""
    text: str = ""
    problem: str = ""


def read_messages(
    path: Path, *, file_format: Format | None = None, skip_bad_lines: bool = False
) -> Reading:
    """Reads all messages of a file.

    Args:
        path: a regular file of at most MAX_BYTES, UTF-8, with or without a byte order mark.
        file_format: overrides what the name's ending says; None goes by the ending.
        skip_bad_lines: counts bad lines by reason instead of stopping at the first one.

    Raises:
        DataError: the file cannot be read, a line is bad, or no line is a message.
    """
    file_format = file_format or format_of(path)
    messages: list[Message] = []
    skipped: Counter[str] = Counter()
    for row in _rows(path, file_format):
        problem = row.problem or _problem(row.label, row.text)
        if not problem:
            messages.append(Message(LABELS[row.label], row.text))
        elif skip_bad_lines:
            skipped[problem] += 1
        else:
            raise _bad_line(path, row, problem, file_format)
    if not messages:
        found = ", ".join(f"{count} x {problem}" for problem, count in skipped.items())
        raise DataError(f"{path} holds no message", found, _EXPECTED[file_format])
    return Reading(tuple(messages), dict(skipped))


def format_of(path: Path) -> Format:
    """The format that a file's name stands for; raises DataError where it is none of ours."""
    try:
        return _ENDINGS[path.suffix.lower()]
    except KeyError:
        raise DataError(
            f"cannot tell the format of {path}",
            f"{path.suffix!r} is none of {', '.join(ending for ending in _ENDINGS if ending)}",
            "Rename the file after what it holds, or save it in one of these formats.",
        ) from None


def _problem(label: str, text: str) -> str:
    """What is wrong with a row, "" where nothing is. Never tells the text."""
    if label not in LABELS:
        return "the label is neither ham nor spam"
    if not text.strip():
        return "the text is empty"
    if len(text) > MAX_CHARACTERS:
        return f"the text is longer than {MAX_CHARACTERS:,} characters"
    if "\0" in text:
        return "the text holds a NUL character"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "the text is not valid UTF-8"
    return ""


def _bad_line(path: Path, row: _Row, problem: str, file_format: Format) -> DataError:
    # A mistyped label helps its reader; where columns are swapped, the "label" is the message.
    if not row.problem and row.label not in LABELS and row.label.isalnum() and len(row.label) < 10:
        problem = f"{problem}: {row.label!r}"
    hint = f"{_EXPECTED[file_format]} Mend it, or skip such lines with --skip-bad-lines."
    return DataError(f"{path}, line {row.line}", problem, hint)


def _rows(path: Path, file_format: Format) -> Iterator[_Row]:
    readers: dict[Format, Callable[[Path, Iterator[str]], Iterator[_Row]]] = {
        "tsv": _tsv_rows,
        "csv": _csv_rows,
        "jsonl": _jsonl_rows,
    }
    try:
        _check_file(path)
        with path.open("rb") as file:
            yield from readers[file_format](path, _lines(file))
    except OSError as error:
        raise DataError(
            f"cannot read {path}",
            error.strerror or str(error),
            "Name a file that this user may read.",
        ) from error


def _check_file(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"cannot read {path}", "it is not a regular file", "Copy it to a file.")
    if status.st_size > MAX_BYTES:
        raise DataError(
            f"{path} is too large",
            f"{status.st_size:,} bytes, where {MAX_BYTES:,} is the limit",
            "Split it into several owners' files.",
        )


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines with their ends. Bytes that are not UTF-8 become surrogates, which _problem finds."""
    for number, raw in enumerate(file):
        line = raw.decode("utf-8", errors="surrogateescape")
        yield line.removeprefix("\ufeff") if number == 0 else line


def _tsv_rows(path: Path, lines: Iterator[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, start=1):
        label, tab, text = line.removesuffix("\n").removesuffix("\r").partition("\t")
        if tab:
            yield _Row(number, label, text)
        elif label.strip():
            yield _Row(number, problem="there is no tab between label and text")


def _jsonl_rows(path: Path, lines: Iterator[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield _Row(number, problem="the line is not JSON")
            continue
        match value:
            case {"label": str(label), "text": str(text)}:
                yield _Row(number, label, text)
            case _:
                yield _Row(number, problem="the line is no object with the strings label and text")


def _csv_rows(path: Path, lines: Iterator[str]) -> Iterator[_Row]:
    reader = csv.reader(lines, strict=True)
    first_line = 1  # of the row that is being read; a quoted text may span lines
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if header.count("label") != 1 or header.count("text") != 1:
            raise DataError(
                f"{path}, line 1", "the header has no columns label and text", _EXPECTED["csv"]
            )
        label, text = header.index("label"), header.index("text")
        first_line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                yield _Row(first_line, cells[label], cells[text])
            elif cells:
                yield _Row(first_line, problem=f"there are {len(cells)} cells, not {len(header)}")
            first_line = reader.line_num + 1
    except csv.Error as error:
        # not a line that could be skipped: where a quote is astray, no later line can be told apart
        raise DataError(
            f"{path}, line {first_line}", f"broken quoting ({error})", _EXPECTED["csv"]
        ) from error
