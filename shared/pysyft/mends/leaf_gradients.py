"""`.grad` of a tensor that keeps none is None, without a warning.

PySyft looks at the gradient of every tensor that it sends or hooks, results included; since 1.5
torch warns that results have none. Whoever asks PySyft does not mean to ask that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._C import TensorBase

_base: Any = TensorBase
_requires_grad = _base.requires_grad.__get__
_is_leaf = _base.is_leaf.__get__
_retains_grad = _base.retains_grad.__get__


def apply_after_hook() -> None:
    """Replaces what TorchHook keeps torch's own `.grad` as."""
    tensor: Any = torch.Tensor
    native = tensor.native_grad

    def get(self: torch.Tensor) -> Any:
        if _requires_grad(self) and not _is_leaf(self) and not _retains_grad(self):
            return None
        return native.__get__(self)

    tensor.native_grad = property(get, native.__set__, native.__delete__)
