"""From moved weights to messages: which spelling features moved, and which moved together.

A feature that one message alone has moves by that message's part of the gradient, bit for bit as
every other such feature of it does, in however large a batch. So equal numbers are one message, and
its runs of five characters follow one another like the tiles of a domino.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import mmh3
import numpy as np
import numpy.typing as npt

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 .,!?'\"&;:/-_+*()#%@£$<>=^~|[]\\ü"
LONGEST = 5
"""Characters of the longest features, as shared/model/text.py makes them."""
_SMALLEST_GROUP = 3


def runs_of(weights: npt.NDArray[np.float32]) -> dict[str, float]:
    """Runs of LONGEST characters that were in some message, and how far their weights moved.

    Shorter runs are tried first: a run can have been there only if both its halves were.
    """
    there = {int(bucket) for bucket in np.flatnonzero(weights)}
    found = [one + other for one in ALPHABET for other in ALPHABET]
    found = [run for run in found if _bucket(run, len(weights)) in there]
    for _ in range(2, LONGEST):
        following = defaultdict(list)
        for run in found:
            following[run[:-1]].append(run)
        longer = (run + other[-1] for run in found for other in following[run[1:]])
        found = [run for run in longer if _bucket(run, len(weights)) in there]
    return {run: float(weights[_bucket(run, len(weights))]) for run in found}


def _bucket(run: str, buckets: int) -> int:
    """Where shared/model/text.py puts a spelling feature; the recipe is the attacker's own."""
    return 1 + int(mmh3.hash(run, 1, signed=False)) % (buckets - 1)


def messages(runs: dict[str, float]) -> Iterator[tuple[int, list[str]]]:
    """What can be read: a label, 1 for spam, and the pieces of one message, longest first."""
    groups = defaultdict(list)
    for run, moved in runs.items():
        groups[moved].append(run)
    for moved, group in groups.items():
        if len(group) >= _SMALLEST_GROUP:
            yield int(moved > 0), sorted(pieces(group), key=len, reverse=True)


def pieces(runs: Iterable[str]) -> list[str]:
    """Runs put together where each has one that can follow it, and that one can follow no other."""
    after, before = defaultdict(list), defaultdict(list)
    runs = list(runs)
    for run in runs:
        after[run[:-1]].append(run)
        before[run[1:]].append(run)
    joined = {
        run: after[run[1:]][0]
        for run in runs
        if len(after[run[1:]]) == 1 and len(before[run[1:]]) == 1
    }
    starts = set(runs) - set(joined.values())
    return [_follow(start, joined) for start in sorted(starts)]


def _follow(start: str, joined: dict[str, str]) -> str:
    text, seen = start, {start}
    while (start := joined.get(start, "")) and start not in seen:
        seen.add(start)
        text += start[-1]
    return text


def share_read(text: str, found: Iterable[str]) -> float:
    """Share of a message's characters, 0 to 1, that stand in pieces of five or more."""
    plain = f" {' '.join(text.lower().split())} "
    covered = np.zeros(len(plain), bool)
    for piece in found:
        place = plain.find(piece)
        while place >= 0:
            covered[place : place + len(piece)] = True
            place = plain.find(piece, place + 1)
    return float(covered.mean())
