"""Optimisers and `zero_grad` for parameters that live elsewhere, or are shared or encrypted.

Since torch 1.5 an optimiser works on the parameter itself under a local `no_grad`, which no remote
worker knows of ("a leaf Variable that requires grad ..."), and since 2.0 `zero_grad` sets gradients
to None, which for a remote gradient means nothing: it keeps growing and the loss stops falling.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any

import torch

from shared.pysyft.loading.load import sy

# each compared with local training, to the last bit: tests/shared/pysyft/test_pysyft_training.py
_SUPPORTED = ("adadelta", "adagrad", "adam", "asgd", "nadam", "radam", "rmsprop", "sgd")
# write into a tensor given as `out=`, which PySyft sends as a copy: the result would be lost
_UNSUPPORTED = ("adamax", "rprop")
_Step = Callable[..., None]
_ZeroGrad = Callable[..., None]


def _elsewhere(parameter: Any) -> bool:
    return hasattr(parameter, "child")


def _remote(parameter: Any) -> bool:
    return isinstance(getattr(parameter, "child", None), sy.PointerTensor)


def _on_data(single_tensor: _Step) -> _Step:
    """Gives an optimiser's loop the values of remote parameters, on which no gradient is kept."""

    @functools.wraps(single_tensor)
    def step(params: list[Any], *args: Any, **kwargs: Any) -> None:
        if kwargs.get("amsgrad") and any(map(_remote, params)):
            _refuse("by adam with amsgrad")
        values = [param.data if _remote(param) else param for param in params]
        single_tensor(values, *args, **kwargs)

    return step


def _sgd(single_tensor: _Step) -> _Step:
    """SGD, also for encrypted parameters, in the few operations that they have."""

    @functools.wraps(single_tensor)
    def step(params: list[Any], grads: list[Any], buffers: list[Any], **kwargs: Any) -> None:
        if any(_elsewhere(param) and not _remote(param) for param in params):
            _plain_step(params, grads, **kwargs)
            return
        if kwargs["momentum"]:
            # torch clones the gradient into its first buffer with a method that, for a pointer,
            # copies the pointer: the next zero_grad would empty the buffer too
            pairs = zip(grads, buffers, strict=True)
            grads = [torch.clone(grad) if buffer is None else grad for grad, buffer in pairs]
        single_tensor(params, grads, buffers, **kwargs)

    return step


def _plain_step(params: list[Any], grads: list[Any], **options: Any) -> None:
    if options["momentum"] or options["weight_decay"] or options["maximize"]:
        raise NotImplementedError("encrypted parameters are trained by plain SGD only")
    for param, grad in zip(params, grads, strict=True):
        param.data.sub_(grad.data * options["lr"])


def _refusing(single_tensor: _Step) -> _Step:
    @functools.wraps(single_tensor)
    def step(params: list[Any], *args: Any, **kwargs: Any) -> None:
        if any(map(_remote, params)):
            _refuse(f"by {single_tensor.__name__.removeprefix('_single_tensor_')}")
        single_tensor(params, *args, **kwargs)

    return step


def _refuse(optimiser: str) -> None:
    raise NotImplementedError(
        f"remote parameters cannot be trained {optimiser}; use one of {', '.join(_SUPPORTED)}"
    )


def _zero(parameters: Iterable[Any]) -> None:
    for parameter in parameters:
        if not _elsewhere(parameter):
            parameter.grad = None
        elif parameter.grad is not None:
            parameter.grad.zero_()


def _module_zero_grad(original: _ZeroGrad) -> _ZeroGrad:
    @functools.wraps(original)
    def zero_grad(self: torch.nn.Module, set_to_none: bool = True) -> None:
        parameters = list(self.parameters())
        if any(_elsewhere(parameter) for parameter in parameters):
            _zero(parameters)
        else:
            original(self, set_to_none)

    return zero_grad


def _optimizer_zero_grad(original: _ZeroGrad) -> _ZeroGrad:
    @functools.wraps(original)
    def zero_grad(self: torch.optim.Optimizer, set_to_none: bool = True) -> None:
        parameters = [param for group in self.param_groups for param in group["params"]]
        if any(_elsewhere(parameter) for parameter in parameters):
            _zero(parameters)
        else:
            original(self, set_to_none)

    return zero_grad


def _wrap(optimiser: str, wrapper: Callable[[_Step], _Step]) -> None:
    module = importlib.import_module(f"torch.optim.{optimiser}")
    attribute = f"_single_tensor_{optimiser}"
    setattr(module, attribute, wrapper(getattr(module, attribute)))


def apply_after_hook() -> None:
    """Wraps torch's optimisers; those of plain parameters take the same path as before."""
    for name in _SUPPORTED:
        _wrap(name, _on_data)
    for name in _UNSUPPORTED:
        _wrap(name, _refusing)
    _wrap("sgd", _sgd)
    torch.nn.Module.zero_grad = _module_zero_grad(torch.nn.Module.zero_grad)  # type: ignore[method-assign]
    torch.optim.Optimizer.zero_grad = _optimizer_zero_grad(  # type: ignore[method-assign]
        torch.optim.Optimizer.zero_grad
    )
    # optimisers ask each gradient; PySyft's tensor types came before the attribute
    sy.generic.object.AbstractObject.is_sparse = False
