"""Rules that keep a few bad results from bending the model; off unless the recipe names one.

    norm-clip      an update longer than `norm_bound` times the cohort's median is shortened to that
    norm-refuse    such an update is left out, and its node named
    trimmed-mean   coordinate by coordinate, without the `trim` largest and smallest share
    median         coordinate by coordinate

Bounding norms: Sun et al., Can You Really Backdoor Federated Learning?, 2019. Trimmed mean and
median: Yin et al., Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates, ICML
2018; they do not weigh by rows, since a bad node may have many. Blanchard et al., Machine Learning
with Adversaries, NeurIPS 2017, show that no weighted mean withstands even one of them.

An update is a result less the state that it was trained from. All functions are pure, and their
results do not depend on the order of the nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shared.model.vectors import Vector

_CHUNK = 2**14  # coordinates at a time: what a rule needs beside the results stays small

Reduce = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating]]


def coordinate_median(states: Sequence[Vector]) -> Vector:
    """The median (P,) of each coordinate."""
    return _by_chunks(states, lambda block: np.median(block, axis=0))


def trimmed_mean(states: Sequence[Vector], trim: float) -> Vector:
    """The mean (P,) of what is left of each coordinate once both ends are cut.

    Args:
        trim: share of the states cut at each end, rounded down; 0 cuts none, below 0.5.
    """
    cut = int(trim * len(states))

    def reduce(block: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        kept = np.sort(block, axis=0)[cut : len(states) - cut]
        mean: npt.NDArray[np.float64] = kept.mean(axis=0, dtype=np.float64)
        return mean

    return _by_chunks(states, reduce)


def update_norms(states: Sequence[Vector], base: Vector) -> npt.NDArray[np.float64]:
    """The L2 norm of each update (states,)."""
    return np.array([float(np.linalg.norm(state.astype(np.float64) - base)) for state in states])


def clip(states: Sequence[Vector], base: Vector, bound: float) -> Iterator[Vector]:
    """The states, with the updates longer than `bound` times the median shortened to that."""
    norms = update_norms(states, base)
    longest = bound * float(np.median(norms))
    for state, norm in zip(states, norms, strict=True):
        if norm <= longest:
            yield state
        else:
            update = state.astype(np.float64) - base
            yield (base + update * (longest / norm)).astype(np.float32)


def out_of_line(states: Sequence[Vector], base: Vector, bound: float) -> dict[int, str]:
    """Which updates are longer than `bound` times the median, by position, and by how much."""
    norms = update_norms(states, base)
    middle = float(np.median(norms))
    return {
        number: f"its update's norm is {norm:.3g}, more than {bound:g} times the cohort's median "
        f"of {middle:.3g}"
        for number, norm in enumerate(norms)
        if norm > bound * middle
    }


def _by_chunks(states: Sequence[Vector], reduce: Reduce) -> Vector:
    result = np.empty_like(states[0])
    for start in range(0, result.size, _CHUNK):
        where = slice(start, start + _CHUNK)
        result[where] = reduce(np.stack([state[where] for state in states]))
    return result
