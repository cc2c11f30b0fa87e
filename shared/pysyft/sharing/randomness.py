"""Shares are drawn by the operating system's generator, for every worker.

PySyft draws them with torch's, whose numbers follow from a seed, and from each other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from shared.pointers.field_numbers import uniform
from shared.pysyft.sharing.holders import Shares


def _generate_shares(self: Any, secret: Any, n_workers: int, random_type: torch.dtype) -> list[Any]:
    """As PySyft's: r1, r2 - r1, ..., secret - r(n-1), in the field of `self`."""
    kind = torch.int64 if random_type == torch.int64 else torch.int32
    if secret.dtype != kind:
        secret = secret.type(kind)
    low, high = self.min_value, self.max_value
    if self.dtype != "custom":  # PySyft's own bounds leave out the highest number
        low, high = -(self.field // 2), self.field // 2 - 1
    shape = tuple(secret.shape)
    masks = [torch.tensor(uniform(shape, low, high)).type(kind) for _ in range(n_workers - 1)]
    if not masks:
        return [self.modulo(secret)]
    between = [after - before for before, after in pairwise(masks)]
    return [self.modulo(share) for share in (masks[0], *between, secret - masks[-1])]


def apply() -> None:
    Shares.generate_shares = _generate_shares
