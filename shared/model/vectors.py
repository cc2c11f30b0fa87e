"""A model's state as the object that travels: a float32 tensor (P,) that PySyft knows by an id.

PySyft's hook replaces tensor methods with slower ones that also look for pointers. The functions
here use the ones of torch's own base class, which the hook leaves alone, and share memory.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import NodeFailed

Vector = npt.NDArray[np.float32]
IDS = range(2**32, 10**11)
"""Ids of objects. PySyft's range, less those that travel in fewer bytes than the others: how many
bytes a message has then tells nothing of chance, and is the same for the same work."""


def new_object_id() -> int:
    """An id for an object, of IDS."""
    return IDS.start + secrets.randbelow(len(IDS))


_STRIDE = 61_803_398_875
"""Between ids of objects that come together: far apart, and without a divisor in common with how
many ids there are."""


def ids_from(first: int, number: int) -> list[int]:
    """So many ids, all different and of IDS, that follow from the first."""
    return [IDS.start + (first + place * _STRIDE) % len(IDS) for place in range(number)]


def is_plain(received: object) -> bool:
    """True for a tensor that holds its numbers itself, and is no wrapper of PySyft's."""
    return isinstance(received, torch.Tensor) and not hasattr(received, "child")


def plain_array(received: object) -> npt.NDArray[Any] | None:
    """The array in a received tensor, sharing its memory; None where it is no plain tensor, or one
    of numbers that numpy does not have."""
    if not is_plain(received):
        return None
    base: Any = torch._C.TensorBase
    try:
        array: npt.NDArray[Any] = base.numpy(base.detach(received))
    except TypeError:  # bfloat16
        return None
    return array


def as_vector(received: object) -> Vector:
    """The vector (P,) in a received object, sharing its memory.

    Raises:
        NodeFailed: the object is no plain, flat float32 tensor.
    """
    array = plain_array(received)
    if array is None or array.dtype != np.float32 or array.ndim != 1:
        found = type(received).__name__
        raise NodeFailed("an object that is no model state", f"a {found}, not a flat float32 one")
    return array
