"""Parameters as float32 arrays and back, past PySyft's hook; a module's all in one exchange."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch._C import TensorBase

Numbers = npt.NDArray[np.float32]

_base: Any = TensorBase
_detach, _numpy = _base.detach, _base.numpy
_grad = _base.grad
_dtype = _base.dtype.__get__
_from_numpy = torch.from_numpy
_make_subclass: Any = torch.Tensor._make_subclass


def parameter_arrays(parameter: Any) -> tuple[Numbers, Numbers | None] | None:
    """The values and the gradient of a parameter, sharing its memory where that is contiguous.

    None where it is no plain float32 parameter of this process.
    """
    if type(parameter) is not torch.nn.Parameter or "child" in parameter.__dict__:
        return None
    gradient = _grad.__get__(parameter)
    if _dtype(parameter) is not torch.float32:
        return None
    return _array(parameter), None if gradient is None else _array(gradient)


def _array(tensor: Any) -> Numbers:
    array: Numbers = np.ascontiguousarray(_numpy(_detach(tensor)))
    return array


def parameter_from(
    object_id: int, values: Numbers, gradient: Numbers | None, requires_grad: bool
) -> Any:
    """A parameter of that id that uses the arrays' memory."""
    made = _make_subclass(torch.nn.Parameter, _from_numpy(values), requires_grad)
    if gradient is not None:
        _grad.__set__(made, _from_numpy(gradient))
    made.id = object_id
    made.is_wrapper = False
    return made


def _fetching_together(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get(module: Any) -> Any:
        pointers: list[Any] = [parameter.__dict__.get("child") for parameter in module.parameters()]
        locations = {getattr(pointer, "location", None) for pointer in pointers}
        location: Any = locations.pop() if len(locations) == 1 else None
        if getattr(location, "takes_commands", False):
            location.fetch_ahead([pointer.id_at_location for pointer in pointers])
        return original(module)

    return get


def apply_after_hook() -> None:
    """Has a module's `get` ask for all of its parameters at once, where they are together."""
    module: Any = torch.nn.Module
    module.get = module.get_ = _fetching_together(module.get_)
