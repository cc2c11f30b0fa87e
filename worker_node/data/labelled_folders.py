"""A folder whose folders ham/ and spam/ hold a text file a message."""

from __future__ import annotations

from pathlib import Path

from shared.errors import DataError
from shared.reading.contents import MAX_BYTES, file_bytes
from shared.reading.encodings import decode
from worker_node.data.labels import HAM, SPAM, meaning_of_folder
from worker_node.data.table import Row, Table

MAX_FILES = 1_000_000


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name; raises DataError where that cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"cannot read the folder {folder}",
            error.strerror or str(error),
            "Name a folder that this user may read.",
        ) from error


def labelled_folders(folder: Path) -> dict[Path, int]:
    """The folders in a folder whose names are labels, and which; empty unless both are there.

    Raises:
        DataError: the folder cannot be read.
    """
    inside = [path for path in entries(folder) if path.is_dir()]
    found = {
        path: meaning for path in inside if (meaning := meaning_of_folder(path.name)) is not None
    }
    return found if set(found.values()) == {HAM, SPAM} else {}


def read_folders(
    folder: Path, encoding: str | None = None, most: int = MAX_BYTES
) -> tuple[Table, str]:
    """Rows of label and text, in the order of the files' names; and the encodings.

    Args:
        most: bytes of all files together.

    Raises:
        DataError: a file cannot be read, or all together are over the bound.
    """
    rows: list[Row] = []
    encodings: set[str] = set()
    left = most
    for part, meaning in labelled_folders(folder).items():
        for path in sorted(part.rglob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            data = file_bytes(path, most)
            left -= len(data)
            if left < 0 or len(rows) >= MAX_FILES:
                raise DataError(
                    f"the folder {folder} is too large",
                    f"its files have more than {most:,} bytes, or are over {MAX_FILES:,}",
                    "Raise the first limit with --most-megabytes, or split it into several owners' "
                    "folders.",
                )
            decoded = decode(data, encoding)
            encodings.add(decoded.encoding)
            rows.append(Row(len(rows) + 1, (("ham", "spam")[meaning], decoded.text)))
    table = Table(("label", "text"), rows, "a text file a message", "file")
    return table, ", ".join(sorted(encodings))
