"""`nn.ReLU` layers of shared networks that are trained, not `F.relu` alone.

The layer says `inplace=False`, an argument that PySyft's relu of tensors with gradients lacks.
"""

from __future__ import annotations

from typing import Any

from shared.pysyft.loading.load import sy


def _relu(tensor: Any, inplace: bool = False) -> Any:
    """A new tensor; raises NotImplementedError for `inplace`, which leaves no gradient."""
    if inplace:
        raise NotImplementedError("shared tensors with gradients have no relu in place")
    return tensor.relu()


def apply() -> None:
    """Replaces the function where commands look it up by its name."""
    sy.AutogradTensor.torch.nn.functional.relu = _relu
