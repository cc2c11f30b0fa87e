"""comparison.json: what a comparison found, in the folder of the run that was compared."""

from __future__ import annotations

import json
from pathlib import Path

from server.rounds.comparison import Comparison, comparison_from
from shared.errors import StorageError
from shared.files import is_present, read_bytes, storage_error, write_whole

COMPARISON = "comparison.json"
_MAX_BYTES = 64 * 2**20


def save_comparison(path: Path, found: Comparison) -> None:
    """Args: path: the run folder. Raises StorageError where it cannot be written to."""
    write_whole(path / COMPARISON, (json.dumps(found.as_dict(), indent=2) + "\n").encode())


def drop_comparison(path: Path) -> None:
    """Removes the one that is there, of a model that another replaces; raises likewise."""
    try:
        (path / COMPARISON).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error("remove", path / COMPARISON, error) from error


def read_comparison(path: Path) -> Comparison | None:
    """The comparison in a run folder; None where there is none.

    Raises:
        StorageError: it is damaged.
    """
    source = path / COMPARISON
    if not is_present(source):
        return None
    try:
        return comparison_from(json.loads(read_bytes(source, _MAX_BYTES)))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        cause = f"{type(error).__name__}: {error}"
        next_step = f"Compare again: python -m server compare {path}"
        raise StorageError(f"{source} is damaged", cause, next_step) from error
