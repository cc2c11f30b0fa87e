"""`torch.jit.trace` of modules, after hooking.

TorchHook gives every module the properties `location` and `owner`, and torch.jit compiles the
properties of a module: it stops at the `try` in them.
"""

from __future__ import annotations

import torch


def apply_after_hook() -> None:
    """Marks both as Python that torch.jit leaves out."""
    for name in ("location", "owner"):
        torch.jit.unused(vars(torch.nn.Module)[name])
