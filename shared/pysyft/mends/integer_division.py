"""Division of integers towards zero, which is what fixed precision and secret sharing count on.

PySyft 0.2.5 was written for torch 1.4, where `/` and `//` between integer tensors both truncated.
Today `/` gives floats (of 24 exact bits, where shares use 62) and `//` rounds down.
"""

from __future__ import annotations

from typing import Any

import torch

from shared.pysyft.loading.load import sy

_Shares = sy.AdditiveSharingTensor
_FixedPrecision = sy.FixedPrecisionTensor
_TOWARDS_ZERO = {"rounding_mode": "trunc"}


def _is_shared(value: Any) -> bool:
    return isinstance(value, _Shares) or isinstance(getattr(value, "child", None), _Shares)


def _divide(value: Any, divisor: Any) -> Any:
    """`value / divisor`; shares divide themselves, share by share, through `_public_div`."""
    return value / divisor if _is_shared(value) else value.div(divisor, **_TOWARDS_ZERO)


def _truncate(self: Any, precision_fractional: int, check_sign: bool = True) -> Any:
    # both signs round towards zero, so the sign need not be looked at
    self.child = _divide(self.child, self.base**precision_fractional)
    return self


def _public_div(self: Any, divisor: Any) -> Any:
    return _divided_shares(self, divisor)


@sy.generic.frameworks.overload.overloaded.method  # type: ignore[untyped-decorator, unused-ignore]
def _divided_shares(self: Any, shares: dict[Any, Any], divisor: Any) -> dict[Any, Any]:
    parts = divisor if isinstance(divisor, dict) else dict.fromkeys(shares, divisor)
    return {worker: share.div(parts[worker], **_TOWARDS_ZERO) for worker, share in shares.items()}


def _fixed_precision_div(original: Any) -> Any:
    def div(self: Any, other: Any) -> Any:
        other_is_fixed = isinstance(other, _FixedPrecision)
        divisor = other.child if other_is_fixed else other
        if not _is_plain(self.child) or not (isinstance(divisor, int) or _is_plain(divisor)):
            return original(self, other)
        # both operands are scaled, so their quotient would not be
        scale = self.base**self.precision_fractional if other_is_fixed else 1
        quotient = (self.child * scale).div(divisor, **_TOWARDS_ZERO)
        return _FixedPrecision(**self.get_class_attributes()).on(quotient, wrap=False)

    return div


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not hasattr(value, "child")


def _fixed_precision_itruediv(self: Any, other: Any) -> Any:
    self.child = self.div(other).child
    return self


def _decompose(tensor: Any, field: int) -> Any:
    """The bits of integers, lowest first, in a new last dimension."""
    securenn = sy.frameworks.torch.mpc.securenn
    positions = torch.arange(securenn.get_n_bits(field), dtype=securenn.get_torch_dtype(field))
    weights: Any = 2**positions
    if isinstance(getattr(tensor, "child", None), dict):  # one pointer a worker
        weights = weights.send(*tensor.child, no_wrap=True)
    # (1, ..., 1, bits) against (..., 1)
    for _ in tensor.shape:
        weights = weights.unsqueeze(0)
    quotient = tensor.unsqueeze(-1).div(weights.type_as(tensor), **_TOWARDS_ZERO)
    return torch.fmod(quotient, 2)


def apply() -> None:
    """Replaces the five places of PySyft that divide integers."""
    _FixedPrecision.truncate = _truncate
    _FixedPrecision.div = _fixed_precision_div(_FixedPrecision.div)
    _FixedPrecision.__truediv__ = _FixedPrecision.div
    _FixedPrecision.__itruediv__ = _fixed_precision_itruediv
    _Shares._public_div = _public_div
    _Shares.__floordiv__ = _public_div
    sy.frameworks.torch.mpc.securenn.decompose = _decompose
