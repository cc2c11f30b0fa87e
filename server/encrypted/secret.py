"""Fixed-point numbers that are shared between two nodes, and what each node does with its share.

Numbers are whole multiples of 1 / SCALE in the integers modulo 2**64. A product is scaled back by
dividing each share, which is wrong by one step at most but for a wrap around the ring: of a product
p, with a probability of |p| SCALE**2 / 2**63 (P. Mohassel and Y. Zhang, *SecureML*, IEEE S&P 2017,
theorem 1). That is 2**-37 for numbers of about 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from shared.pysyft import sharing, sy

SCALE = 2**13


@dataclass(frozen=True)
class Parties:
    """Two nodes that hold shares, and one that makes triples; sessions of `connect_shared`."""

    holders: tuple[Any, Any]
    provider: Any

    def secret(self, parts: Iterable[Any], shape: Sequence[int]) -> Secret:
        """A shared tensor of theirs."""
        return Secret(self, parts, shape)


class Secret:
    """A shared tensor.

    Args:
        parts: remote tensors int64, one a holder, of this shape.
    """

    def __init__(self, parties: Parties, parts: Iterable[Any], shape: Sequence[int]) -> None:
        self.parties = parties
        self.parts = list(parts)
        self.shape = torch.Size(shape)

    @classmethod
    def share(cls, parties: Parties, values: np.ndarray[Any, Any]) -> Secret:
        """Args: values: float, (...), far below 2**40 in absolute value."""
        whole = torch.tensor(np.rint(np.asarray(values, np.float64) * SCALE).astype(np.int64))
        shares = sharing.split(whole, len(parties.holders))
        parts = [sharing.send(*both) for both in zip(shares, parties.holders, strict=True)]
        return parties.secret(parts, whole.shape)

    def open(self) -> np.ndarray[Any, Any]:
        """The numbers, float64. The shares are gone from their holders."""
        whole = sum(sharing.fetch_all(self.parts))
        return np.asarray(whole.tolist(), np.float64).reshape(self.shape) / SCALE

    def each(self, change: Callable[[Any], Any], shape: Sequence[int] | None = None) -> Secret:
        """The same at both holders, which must be linear."""
        return self.parties.secret(map(change, self.parts), self.shape if shape is None else shape)

    def plus(self, number: float) -> Secret:
        """With a number added that everybody knows."""
        first, *others = self.parts
        return self.parties.secret([first + round(number * SCALE), *others], self.shape)

    def times_known(self, number: float) -> Secret:
        """Times a number that everybody knows."""
        return self.each(lambda part: _scaled_back(part * round(number * SCALE)))

    def __add__(self, other: Secret) -> Secret:
        parts = [one + two for one, two in zip(self.parts, other.parts, strict=True)]
        return self.parties.secret(parts, np.broadcast_shapes(self.shape, other.shape))

    def __sub__(self, other: Secret) -> Secret:
        parts = [one - two for one, two in zip(self.parts, other.parts, strict=True)]
        return self.parties.secret(parts, np.broadcast_shapes(self.shape, other.shape))

    def __mul__(self, other: Secret) -> Secret:
        return self._product("mul", other)

    def __matmul__(self, other: Secret) -> Secret:
        return self._product("matmul", other)

    def chosen(self, other: Secret) -> Secret:
        """The matrix product with whole numbers (not scaled), which chooses rows of `other`."""
        shape = _result_shape("matmul", self.shape, other.shape)
        return self.parties.secret(self._multiplied("matmul", other, shape), shape)

    def _product(self, name: str, other: Secret) -> Secret:
        shape = _result_shape(name, self.shape, other.shape)
        return self.parties.secret(map(_scaled_back, self._multiplied(name, other, shape)), shape)

    def _multiplied(self, name: str, other: Secret, shape: torch.Size) -> list[Any]:
        """Shares of the product as it is, twice scaled."""
        found = sharing.multiply(
            getattr(torch, name), self._as_pysyft(), other._as_pysyft(), self.parties.provider
        )
        return sharing.parts_of(found)

    def _as_pysyft(self) -> Any:
        for part in self.parts:
            part.child.shape = self.shape
        like = sy.AdditiveSharingTensor(
            owner=sy.local_worker, dtype="long", crypto_provider=self.parties.provider
        )
        return sharing.shared_of(self.parts, like)


def _scaled_back(part: Any) -> Any:
    return part.div(SCALE, rounding_mode="trunc")


def _result_shape(name: str, first: torch.Size, second: torch.Size) -> torch.Size:
    if name == "mul":
        return torch.Size(np.broadcast_shapes(first, second))
    # numbers without memory of their own
    left, right = (np.broadcast_to(np.int64(0), tuple(one)) for one in (first, second))
    return torch.Size(np.matmul(left, right).shape)
