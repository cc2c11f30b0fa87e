"""Ids of objects: from the system's randomness, and remembered only for a while.

PySyft draws them from Python's global generator. Whoever seeds that, for a run that can be
repeated, gets the same ids in each run, which meet the objects that a node still holds of the last
one; and what the generator gives next depends on how many tensors there were. It also keeps every
id for ever, some 1,500 a batch of pointer training.
"""

from __future__ import annotations

import functools
import os
from array import array
from collections import deque
from typing import Any

from shared.model.vectors import IDS
from shared.pysyft.loading.load import sy

_REMEMBERED = 100_000
_DRAWN_AT_ONCE = 1024
_drawn: list[int] = []


def new_id() -> int:
    """An id that nobody can guess; drawn from the system by the thousand. From any thread."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            numbers = array("Q", os.urandom(8 * _DRAWN_AT_ONCE))
            _drawn.extend([IDS.start + number % len(IDS) for number in numbers])


class _RecentIds(set[Any]):
    """A set that forgets its oldest members."""

    def __init__(self, ids: Any = ()) -> None:
        super().__init__()
        self._order: deque[Any] = deque()
        for item in ids:
            self.add(item)

    def add(self, item: Any) -> None:
        if item not in self:
            super().add(item)
            self._order.append(item)
            if len(self._order) > _REMEMBERED:
                self.discard(self._order.popleft())


def _remembering_less(original: Any) -> Any:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.generated = _RecentIds()

    return init


def apply() -> None:
    """For the provider that syft has made already, and for new ones."""
    provider = sy.generic.id_provider
    provider.create_random_id = new_id
    provider.IdProvider.__init__ = _remembering_less(provider.IdProvider.__init__)
    sy.ID_PROVIDER.generated = _RecentIds(sy.ID_PROVIDER.generated)
