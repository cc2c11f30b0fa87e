"""The one TorchHook of a process, and the mends that can only follow it."""

from __future__ import annotations

import functools
from typing import Any

import torch

from shared.pysyft.loading.load import sy
from shared.pysyft.mends import (
    composed_linear,
    leaf_gradients,
    remote_clipping,
    remote_training,
    tracing,
)
from shared.pysyft.shortcuts import plain_parameters, pointer_shortcuts

_AFTER_HOOK: tuple[Any, ...] = (
    composed_linear,
    leaf_gradients,
    remote_training,
    remote_clipping,
    tracing,
    pointer_shortcuts,
    plain_parameters,
)


def make_hook() -> Any:
    """Hooks torch, once: later calls return the first hook. Not safe from two threads at a time.

    From then on every torch call of this process passes through PySyft, for ever; plain training
    is 1.3 to 1.4 times slower, so it belongs in a process that never calls this.

    Returns:
        syft.TorchHook: its `local_worker` is the worker "me" that owns this process's tensors.
    """
    if getattr(sy, "hook", None) is None:
        sy.TorchHook(torch)
    return sy.hook


def _followed_by_mends(original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, torch_module: Any, *args: Any, **kwargs: Any) -> None:
        first = not hasattr(torch_module, "torch_hooked")
        original(self, torch_module, *args, **kwargs)
        if first:
            for mend in _AFTER_HOOK:
                mend.apply_after_hook()

    return init


def apply() -> None:
    """Also for whoever makes a TorchHook directly, as PySyft's own tests do."""
    sy.TorchHook.__init__ = _followed_by_mends(sy.TorchHook.__init__)
