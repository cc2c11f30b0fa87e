"""Arguments of a pointer operation as a template and the ids of its tensors.

See shared/pointers/frames.py for what a template looks like. Two calls that differ only in which
tensors they are for have equal templates.
"""

from __future__ import annotations

from typing import Any

import torch

from shared.pysyft.loading.load import sy
from shared.pysyft.messages.tensor_format import DTYPES

_PointerTensor: type = sy.PointerTensor
_TENSORS = (torch.Tensor, torch.nn.Parameter)
_ATTRIBUTES = {None: ("r", 0), "data": ("r", 1), "grad": ("r", 2)}
_DTYPES = {dtype: name for name, dtype in DTYPES.items()}


class NotForTheWire(Exception):
    """An argument that no template can hold."""


def reference(pointer: Any, ids: list[int]) -> tuple[str, int]:
    """The place of a pointer in a template; its id is appended to `ids`."""
    object_id = pointer.id_at_location
    place = _ATTRIBUTES.get(pointer.point_to_attr)
    if place is None or type(object_id) is not int:
        raise NotForTheWire(f"a pointer to {pointer.point_to_attr or object_id!r}")
    ids.append(object_id)
    return place


def encode(value: Any, ids: list[int], location: Any) -> Any:
    """An argument as part of a template; the ids of pointers in it are appended to `ids`.

    Args:
        location: the worker that runs the operation; pointers elsewhere have no place in it.

    Raises:
        NotForTheWire: it is none of the kinds that a template holds, or points elsewhere.
    """
    kind = type(value)
    if kind is int or value is None or kind is str:
        return value
    if kind in _TENSORS:
        value = value.__dict__.get("child")
        kind = type(value)
    if kind is _PointerTensor:
        if value.location is not location:
            raise NotForTheWire("a tensor of another worker")
        return reference(value, ids)
    return _encode_rarer(kind, value, ids, location)


def _encode_rarer(kind: type, value: Any, ids: list[int], location: Any) -> Any:
    if kind is float:
        return ("f", value.hex())
    if kind is bool:
        return ("b", int(value))
    if kind is slice:
        parts = (value.start, value.stop, value.step)
        if all(part is None or type(part) is int for part in parts):
            return ("s", *parts)
    elif kind is tuple or kind is torch.Size:
        return ("t", *[encode(item, ids, location) for item in value])
    elif kind is list:
        return ("l", *[encode(item, ids, location) for item in value])
    elif value is ...:
        return ("e",)
    elif kind is torch.dtype and value in _DTYPES:
        return ("d", _DTYPES[value])
    raise NotForTheWire("a tensor of this process" if value is None else f"a {kind.__name__}")
