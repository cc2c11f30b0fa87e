"""An owner's rows as a program gives them, checked as those of a file are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shared.errors import DataError, UsageError
from worker_node.data.messages import LABELS, Message, problem_of
from worker_node.data.packed_messages import PackedMessages
from worker_node.data.shard import Shard, check_classes, load_shard, split_held_out

Rows = Iterable[tuple[str, str]]
"""("spam" or "ham", text) each."""


def shard_given(
    messages: Rows | None,
    data: Path | None,
    held_out: float | Path | Rows,
    allow_one_class: bool = False,
) -> Shard:
    """The shard of a program's rows, or of the file that it names.

    Args:
        held_out: share to measure with, 0 to below 1; or the rows, or their file.
        allow_one_class: accepts training rows that are all ham or all spam.

    Raises:
        UsageError: not one of rows and file is given, or the share is out of bounds.
        DataError: the rows are missing, malformed, or of one class.
    """
    if (messages is None) == (data is None):
        raise UsageError("a node needs messages or data, one of them")
    share = held_out if isinstance(held_out, int | float) else 0.0
    if not 0 <= share < 1:
        raise UsageError(f"the held-out fraction is {share}", "it must be at least 0 and below 1")
    if data is not None and isinstance(held_out, int | float | Path):
        file = held_out if isinstance(held_out, Path) else None
        return load_shard(
            data,
            held_out_file=file,
            held_out_fraction=share,
            allow_one_class=allow_one_class,
        )
    rows = _of_file(data) if data is not None else _checked(() if messages is None else messages)
    if isinstance(held_out, int | float):
        train, measured = split_held_out(rows, share)
    else:
        measured = _of_file(held_out) if isinstance(held_out, Path) else _checked(held_out)
        train = rows
    if not allow_one_class:
        check_classes("what was given", train)
    return Shard(train, measured)


def _of_file(path: Path) -> Sequence[Message]:
    shard = load_shard(path, held_out_fraction=0, allow_one_class=True)
    return shard.train


def _checked(rows: Rows) -> Sequence[Message]:
    found = PackedMessages()
    for number, row in enumerate(rows, start=1):
        label, text = _pair(row, number)
        problem = problem_of(text if isinstance(text, str) else None)
        if not isinstance(label, str) or label not in LABELS:
            problem = "the label is neither ham nor spam"
        if problem:
            raise DataError(f"row {number} cannot be used", problem)
        found.add(LABELS[label], text)
    if not found:
        raise DataError("there is no message among what was given")
    return found


def _pair(row: object, number: int) -> tuple[Any, Any]:
    """Also of a row of numpy or pandas, which is no tuple."""
    parts = list(row) if isinstance(row, Iterable) and not isinstance(row, str | bytes) else []
    if len(parts) != 2:
        raise DataError(f"row {number} is no pair of a label and a text")
    return parts[0], parts[1]
