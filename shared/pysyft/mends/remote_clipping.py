"""`clip_grad_norm_` of remote gradients, without asking for the norm, equal to torch's own.

PySyft's asks the worker whether the coefficient is below 1, which waits for all that was asked
before, and sums norms in another order than torch does. Multiplying by at most 1 asks nothing.
"""

from __future__ import annotations

from typing import Any

import torch

from shared.pysyft.loading.load import sy

_PointerTensor: type = sy.PointerTensor
_torch_clip = torch.nn.utils.clip_grad_norm_  # taken before TorchHook replaces it


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
    """As torch's; of remote parameters, gives the norm as a remote tensor.

    Raises:
        NotImplementedError: remote gradients, with another norm than 2 or with error_if_nonfinite.
    """
    tensors = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
    if not any(isinstance(getattr(tensor, "child", None), _PointerTensor) for tensor in tensors):
        return _torch_clip(tensors, max_norm, norm_type, error_if_nonfinite, foreach)
    if norm_type != 2.0 or error_if_nonfinite:
        raise NotImplementedError("remote gradients are clipped by their 2-norm, and not checked")
    gradients: list[Any] = [tensor.grad for tensor in tensors if tensor.grad is not None]
    norms: Any = torch.stack([gradient.norm(2.0) for gradient in gradients])
    total = norms.norm(2.0)
    coefficient = (float(max_norm) / (total + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(coefficient)
    return total


def apply_after_hook() -> None:
    """Replaces PySyft's, which TorchHook has put in place of torch's."""
    torch.nn.utils.clip_grad_norm_ = clip_grad_norm_
