"""Messages that say the same in almost the same words: a template with another number or name.

Two texts are near-duplicates where at least SIMILAR of their distinct runs of five characters are
common to both (Jaccard), whatever their case, spaces and digits. Candidates are found with MinHash
and banding (Broder, On the Resemblance and Containment of Documents, 1997; Leskovec, Rajaraman,
Ullman, Mining of Massive Datasets, chapter 3), and each is then compared exactly. The same texts
give the same groups on every machine.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import mmh3
import numpy as np
import numpy.typing as npt

SIMILAR = 0.6
_RUN = 5
_BANDS, _ROWS = 40, 3
"""Two texts as similar as SIMILAR miss each other in all bands once in 17,000 times."""
_MAX_RUNS = 2000
"""Of one text; what a long mail says further on makes it no other mail."""
_COMPARED = 8
"""Earlier texts of a bucket that a text is compared with; they are alike among themselves."""
Runs = npt.NDArray[np.uint32]

_SPACES, _DIGITS = re.compile(r"\s+"), re.compile(r"\d")

_SEEDS = range(_BANDS * _ROWS)
_FACTORS = np.array([mmh3.hash64(f"factor {n}", signed=False)[0] | 1 for n in _SEEDS], np.uint64)
_OFFSETS = np.array([mmh3.hash64(f"offset {n}", signed=False)[0] for n in _SEEDS], np.uint64)


def near_groups(texts: Sequence[str]) -> list[int]:
    """For each text the index of the first text of its group, itself where it has none before it.

    A group is closed: whoever is near one of its texts is in it.
    """
    runs = [_runs(text) for text in texts]
    first = list(range(len(texts)))
    for bucket in _shared_buckets(runs):
        for place, index in enumerate(bucket):
            for other in bucket[: min(place, _COMPARED)]:
                roots = _root(first, other), _root(first, index)
                if roots[0] != roots[1] and _alike(runs[index], runs[other]):
                    first[max(roots)] = min(roots)
    return [_root(first, index) for index in range(len(texts))]


def near_in(texts: Iterable[str], others: Iterable[str]) -> int:
    """How many of the texts have a near-duplicate among the others, repeats included."""
    looked_for, among = list(texts), list(others)
    groups = near_groups(among + looked_for)
    there = set(groups[: len(among)])
    return sum(group in there for group in groups[len(among) :])


def _runs(text: str) -> Runs:
    """Distinct hashes of a text's runs of characters, in order."""
    plain = _DIGITS.sub("0", _SPACES.sub(" ", text.lower()).strip())
    ends = range(max(1, min(len(plain) - _RUN + 1, _MAX_RUNS)))
    found = {plain[start : start + _RUN] for start in ends}
    hashes = [mmh3.hash(run, signed=False) for run in found]
    return np.unique(np.array(hashes, np.uint32))


def _shared_buckets(runs: Sequence[Runs]) -> Iterator[list[int]]:
    """The texts of each bucket of each band that has more than one of them, in order.

    One band after the other: all at once, they would take most of the memory.
    """
    least = np.empty((_BANDS, _ROWS, len(runs)), np.uint32)
    for index, own in enumerate(runs):
        least[:, :, index] = _least(own).reshape(_BANDS, _ROWS)
    for band in least:
        order = np.lexsort(band)  # which leaves equal ones as they were
        differs = (np.diff(band[:, order], axis=1) != 0).any(axis=0)
        edges = np.flatnonzero(np.concatenate([[True], differs, [True]]))
        for start, end in itertools.pairwise(edges.tolist()):
            if end > start + 1:
                yield order[start:end].tolist()


def _least(own: Runs) -> npt.NDArray[np.uint32]:
    """The signature of a text: the least of each mixing of its runs, (bands * rows,)."""
    # wraps around at 2^64, as is meant; the upper half is well mixed
    wide = own.astype(np.uint64)[:, None]
    mixed = (wide * _FACTORS[None, :] + _OFFSETS[None, :]) >> np.uint64(32)  # (runs, seeds)
    least: npt.NDArray[np.uint32] = mixed.min(axis=0).astype(np.uint32)
    return least


def _alike(one: Runs, two: Runs) -> bool:
    common = len(np.intersect1d(one, two, assume_unique=True))
    return common >= SIMILAR * (len(one) + len(two) - common)


def _root(first: list[int], index: int) -> int:
    while first[index] != index:
        first[index] = first[first[index]]
        index = first[index]
    return index
