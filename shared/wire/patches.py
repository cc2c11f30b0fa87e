"""Patches: a state told by what differs from one that the other side already has.

A round of training leaves the embedding rows of words that nobody wrote exactly as they were, so
much of a state need not travel. A patch is lossless: one bit for each of the P numbers, set where
the new one differs from the old in any bit, then the new ones. It costs P / 8 bytes, 3.1 % of the
state, and tells nothing that the two whole states would not tell.

As an object on the wire a patch is a uint8 tensor, and a whole state a float32 tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from shared.errors import NodeFailed
from shared.model.vectors import Vector, as_vector, plain_array

Bytes = npt.NDArray[np.uint8]


def make_patch(base: Vector, state: Vector) -> Bytes | None:
    """The patch that turns `base` (P,) into `state` (P,); None where it would be no smaller."""
    changed = base.view(np.uint32) != state.view(np.uint32)
    mask = np.packbits(changed)
    values = state[changed].view(np.uint8)
    if mask.size + values.size >= state.nbytes:
        return None
    return np.concatenate((mask, values))


def apply_patch(base: Vector, patch: Bytes) -> Vector:
    """The patched state (P,), a new array.

    Raises:
        NodeFailed: the patch is not one for a state of this size.
    """
    mask_bytes = -(-base.size // 8)
    changed = np.unpackbits(patch[:mask_bytes], count=base.size).view(bool)
    if patch.size != mask_bytes + 4 * int(changed.sum()):
        raise NodeFailed("a patch that does not fit the state", f"{patch.size} bytes")
    state = base.copy()
    state[changed] = patch[mask_bytes:].copy().view("<f4")
    return state


def state_object(state: Vector, base: Vector | None, object_id: int) -> Any:
    """What travels for a state (P,): a tensor with that id, a patch where that is smaller.

    Args:
        base: the state (P,) that the other side has; None where it has none.
    """
    patch = make_patch(base, state) if base is not None else None
    tensor: Any = torch.from_numpy(np.ascontiguousarray(state) if patch is None else patch)
    tensor.id = object_id
    return tensor


def state_from(received: object, base: Vector | None) -> Vector:
    """The state (P,) in a received object.

    Args:
        base: the state that the other side made a patch from; None where there is none.

    Raises:
        NodeFailed: the object is neither a state nor a patch that fits.
    """
    array = plain_array(received)
    if array is None or array.dtype != np.uint8 or array.ndim != 1:
        return as_vector(received)
    if base is None:
        raise NodeFailed("a patch came before the state that it is for")
    return apply_patch(base, array)
