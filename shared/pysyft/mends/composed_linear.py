"""`F.linear` for tensors that are not plain: it has become one C function, which takes only plain.

In torch 1.4 it was Python over `addmm` and `matmul`, which shares and autograd tensors know.
"""

from __future__ import annotations

from typing import Any

import torch

_linear = torch.nn.functional.linear


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, torch.Tensor) and not hasattr(value, "child"))


def linear(input: Any, weight: Any, bias: Any = None) -> Any:  # noqa: A002  # torch's own name
    """input (..., in), weight (out, in), bias (out,) or None; returns (..., out)."""
    if _is_plain(input) and _is_plain(weight) and _is_plain(bias):
        return _linear(input, weight, bias)
    if bias is not None and len(input.shape) == 2:
        return torch.addmm(bias, input, weight.t())
    product = input.matmul(weight.t())
    return product if bias is None else product + bias


def apply_after_hook() -> None:
    """`native_linear` is what PySyft calls once it has unwrapped a tensor as far as it can."""
    torch.nn.functional.native_linear = linear  # type: ignore[attr-defined]
