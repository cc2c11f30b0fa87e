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


def new_object_id() -> int:
    """An id for an object; PySyft draws its ids from the same range."""
    return secrets.randbelow(10**11)


def as_tensor(vector: Vector, object_id: int) -> torch.Tensor:
    """A tensor (P,) over the vector's memory; needs a hooked torch, which gives tensors ids."""
    tensor: Any = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float32))
    tensor.id = object_id
    return tensor  # type: ignore[no-any-return]


def as_vector(received: object) -> Vector:
    """The vector (P,) in a received object, sharing its memory.

    Raises:
        NodeFailed: the object is no plain, flat float32 tensor.
    """
    plain = isinstance(received, torch.Tensor) and not hasattr(received, "child")
    if not plain or received.dtype != torch.float32 or received.dim() != 1:  # type: ignore[attr-defined]
        found = type(received).__name__
        raise NodeFailed("an object that is no model state", f"a flat float32 tensor, not {found}")
    return torch._C.TensorBase.numpy(torch._C.TensorBase.detach(received))  # type: ignore[arg-type]
