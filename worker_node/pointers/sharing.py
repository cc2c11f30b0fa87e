"""The operations of secret sharing that torch has none for, with the system's own randomness.

What hides a secret must not follow from a seed that the coordinator chose, as what torch draws in
a session does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from shared.model.vectors import plain_array
from shared.pointers.field_numbers import bits, uniform
from shared.pointers.tensor_operations import BITS_OF, UNIFORM

_from_numpy = torch.from_numpy  # past PySyft's hook, which is made later
MAX_NUMBERS = 2**24
"""In one result: 128 MiB."""


def _uniform(shape: Sequence[int], low: int, high: int) -> Any:
    if not isinstance(shape, tuple) or not all(
        type(size) is int and 0 <= size <= MAX_NUMBERS for size in shape
    ):
        raise ValueError("a shape is a tuple of sizes")
    _check_size(int(np.prod(shape, dtype=object)))
    return _from_numpy(uniform(shape, low, high))


def _bits(numbers: Any) -> Any:
    array = plain_array(numbers) if isinstance(numbers, torch.Tensor) else None
    if array is None or array.dtype != np.int64:
        raise TypeError("bits are those of an int64 tensor")
    _check_size(64 * array.size)
    return _from_numpy(bits(np.array(array, order="C")))  # also of one number, without dimensions


def _check_size(numbers: int) -> None:
    if numbers > MAX_NUMBERS:
        raise ValueError(f"more than {MAX_NUMBERS:,} numbers in one result")


FUNCTIONS: dict[str, Callable[..., Any]] = {UNIFORM: _uniform, BITS_OF: _bits}
