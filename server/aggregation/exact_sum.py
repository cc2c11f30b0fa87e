"""A sum of many weighted states that is exact, and therefore the same in any order.

Sums of floats depend on their order, and who answers first is chance. Here every number times its
weight is rounded to the grid of shared/secure_aggregation/fixed_point.py, so that a secure sum has
the same bits, and is then cut into pieces of 45 bits at fixed positions, each with an int64
accumulator: integer sums have no order. Nothing else is rounded before the result is read, and the
memory is that of a few accumulators however many states are added. (The idea is Kulisch's long
accumulator; Demmel and Nguyen, Parallel Reproducible Summation, IEEE Transactions on Computers
2015, cut at fixed positions likewise.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shared.model.vectors import Vector
from shared.secure_aggregation.fixed_point import MAX_ROWS, PIECE_BITS, PIECES, mean, unit_of

MAX_STATES = 2 ** (62 - PIECE_BITS)
LARGEST = 2.0**34
"""A state's numbers must be smaller; with weights below 2^29 their products are exact."""
_CHUNK = 2**14  # numbers at a time, so that they stay in the processor's cache

Doubles = npt.NDArray[np.float64]


class ExactSum:
    """Sums weight * state over states (P,).

    Args:
        size: P.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: dict[int, npt.NDArray[np.int64]] = {}
        self.weight = 0
        self.count = 0

    @property
    def nbytes(self) -> int:
        """Memory of the accumulators."""
        return sum(piece.nbytes for piece in self._pieces.values())

    def add(self, state: Vector, weight: int) -> None:
        """Adds a state (P,), which is not changed.

        Raises:
            ValueError: as `require_result` does. Then nothing was added.
        """
        self.require_result(state, weight)
        for start in range(0, self._size, _CHUNK):
            self._add_chunk(slice(start, start + _CHUNK), state, weight)
        self.weight += weight
        self.count += 1

    def require_result(self, state: Vector, weight: int) -> None:
        """Raises ValueError where a state has a wrong size, a number that is not finite or too
        large to be a model's, or a weight that is none, and where there are too many states."""
        if state.shape != (self._size,):
            raise ValueError(f"a result has shape {state.shape}, the model's state ({self._size},)")
        if not 0 < weight <= MAX_ROWS:
            raise ValueError(f"a result has {weight} rows")
        if self.count == MAX_STATES:
            raise ValueError(f"there are more than {MAX_STATES} results")
        if not max(state.max(initial=0), -state.min(initial=0)) < LARGEST:  # also where it is NaN
            raise ValueError(f"a result holds numbers that are not finite, or {LARGEST:g} or more")

    def _add_chunk(self, where: slice, state: Vector, weight: int) -> None:
        rest: Doubles = state[where].astype(np.float64)
        rest *= weight  # exact: 24 bits times 29
        largest = max(rest.max(), -rest.min())
        for number in range(PIECES - 1, -1, -1):
            if not largest:
                return
            unit = unit_of(number)
            if largest < unit / 2:
                continue
            cut = np.rint(rest * (1 / unit))
            rest -= cut * unit  # exact, and what is left after the last piece is dropped
            self._piece(number)[where] += cut.astype(np.int64)
            largest = max(rest.max(), -rest.min())

    def _piece(self, number: int) -> npt.NDArray[np.int64]:
        if number not in self._pieces:
            self._pieces[number] = np.zeros(self._size, np.int64)
        return self._pieces[number]

    def mean(self) -> Vector:
        """The weighted mean (P,), a new array; the sum can be added to further.

        Raises:
            ValueError: nothing was added.
        """
        if not self.count:
            raise ValueError("there are no results to aggregate")
        return mean(self._pieces, self._size, self.weight)
