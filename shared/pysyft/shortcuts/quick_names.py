"""Hooking torch in a quarter of the time: `name in dir(...)` without sorting all the names.

TorchHook asks some 9,600 times whether a class or a module has a name, and builds and sorts a list
of a thousand names each time. The `dir` that its two modules see from here on answers alike.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from types import ModuleType

from shared.pysyft.loading.load import sy


class _Names:
    """What `dir(owner)` gives, as far as `in` and `for` can tell; always up to date."""

    def __init__(self, owner: type | ModuleType) -> None:
        self._owner = owner
        self._spaces = owner.__mro__ if isinstance(owner, type) else (owner,)

    def __contains__(self, name: str) -> bool:
        return any(name in vars(space) for space in self._spaces)

    def __iter__(self) -> Iterator[str]:
        return iter(builtins.dir(self._owner))


def apply() -> None:
    """Gives TorchHook and its base class a module-level `dir`."""
    sy.generic.frameworks.hook.hook.dir = _Names
    sy.frameworks.torch.hook.hook.dir = _Names
