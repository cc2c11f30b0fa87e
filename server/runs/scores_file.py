"""The newest round's counts of scores, from which a report's threshold can be moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import StorageError
from shared.files import is_present, read_bytes, write_whole
from shared.model.metrics import BINS, Counts, ScoreSummary

SCORES = "scores.json"
_MAX_BYTES = 2**20


def save_scores(folder: Path, number: int, scores: ScoreSummary | None) -> None:
    """Args: number: of the round. scores: None removes what is there.

    Raises StorageError.
    """
    if scores is None:
        (folder / SCORES).unlink(missing_ok=True)
        return
    sparse = {"round": number, "ham": _sparse(scores.ham), "spam": _sparse(scores.spam)}
    write_whole(folder / SCORES, (json.dumps(sparse) + "\n").encode(), durable=False)


def read_scores(folder: Path, number: int) -> dict[str, Any] | None:
    """Counts of all owners' held-out rows: bin -> count of "ham" and of "spam".

    Args:
        number: of the newest round.

    Returns:
        None where there are none of that round, or what is there is damaged.
    """
    try:
        if not is_present(folder / SCORES):
            return None
        found = json.loads(read_bytes(folder / SCORES, _MAX_BYTES))
        kept = {name: {int(k): int(v) for k, v in found[name].items()} for name in ("ham", "spam")}
        possible = all(0 <= k < BINS and v > 0 for one in kept.values() for k, v in one.items())
        return kept if possible and found["round"] == number else None
    except (StorageError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None


def _sparse(counts: Counts) -> dict[int, int]:
    return {int(one): int(counts[one]) for one in np.flatnonzero(counts)}
