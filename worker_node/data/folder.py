"""An owner's folder of messages: a file called messages.*, and if there is one, held-out.*.

A folder can be mounted into a container whatever its files are called on the outside. One that
holds folders ham and spam instead is itself the messages, a file each.
"""

from __future__ import annotations

from pathlib import Path

from shared.errors import DataError
from worker_node.data.labelled_folders import entries, labelled_folders

ENDINGS = (
    *(".tsv", ".csv", ".jsonl", ".txt", ".tab", ".ndjson", ".json", ".parquet", ".xlsx", ".xls"),
    *(".ods", ".xml", ".gz", ".zip"),
)
MESSAGES = "messages"
HELD_OUT = "held-out"


def owner_files(data: Path, held_out: Path | None) -> tuple[Path, Path | None]:
    """The file to train on, and the one to measure with.

    Args:
        data: a file; a folder with exactly one messages.* and at most one held-out.*; or a folder
            with folders ham and spam.
        held_out: a file that goes before the folder's held-out.*; None looks there.

    Returns:
        Both files; None for the second where a part of the first is to be held out.

    Raises:
        DataError: the folder cannot be read, or holds no such file, or more than one.
    """
    if not data.is_dir():
        return data, held_out
    if labelled_folders(data):
        return data, held_out
    messages = _only(data, MESSAGES)
    if messages is None:
        raise DataError(
            f"there are no messages in the folder {data}",
            f"it holds no {MESSAGES}.* ({', '.join(ENDINGS)}), and no folders ham and spam",
            "Put the owner's file there under such a name, or name the file itself.",
        )
    return messages, held_out or _only(data, HELD_OUT)


def _only(folder: Path, stem: str) -> Path | None:
    found = [
        path.name
        for path in entries(folder)
        if path.name.partition(".")[0] == stem and path.suffix.lower() in ENDINGS
    ]
    if len(found) > 1:
        raise DataError(
            f"the folder {folder} holds more than one file called {stem}",
            ", ".join(found),
            "Keep one of them there, or name the file itself.",
        )
    return folder / found[0] if found else None
