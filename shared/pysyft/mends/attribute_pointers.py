"""`clone`, `move` and `remote_send` of a pointer to an attribute, `x.grad` say, take the attribute.

PySyft drops the attribute on the way: `x.grad.clone()` points to `x`, and `x.grad.move(anne)` moves
`x`, without a word. A split network that moves its gradient like this learns something else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from shared.pysyft.loading.load import sy

_PointerTensor: Any = sy.PointerTensor
_Method = Callable[..., Any]


def _copy(pointer: Any) -> Any:
    """A pointer to a copy of what `pointer` points to, made where that is."""
    return pointer.owner.send_command(
        message=("torch.clone", None, (pointer,), {}), recipient=pointer.location
    )


def _clone(original: _Method) -> _Method:
    @functools.wraps(original)
    def clone(self: Any) -> Any:
        return original(self) if self.point_to_attr is None else _copy(self)

    return clone


def _of_copy(original: _Method) -> _Method:
    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        taken = self if self.point_to_attr is None else _copy(self)
        return original(taken, *args, **kwargs)

    return method


def apply() -> None:
    """Wraps the three methods; pointers to whole tensors take the same path as before."""
    _PointerTensor.clone = _clone(_PointerTensor.clone)
    _PointerTensor.move = _of_copy(_PointerTensor.move)
    _PointerTensor.remote_send = _of_copy(_PointerTensor.remote_send)
