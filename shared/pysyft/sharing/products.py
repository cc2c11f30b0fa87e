"""Products of two shared tensors, by Beaver's triples; division of shares.

D. Beaver, *Efficient Multiparty Protocols Using Circuit Randomization*, CRYPTO 1991. A provider
draws a and b and gives shares of a, b and c = a b; the holders open d = x - a and e = y - b, which
are uniform whatever x and y are, and x y = d e + d b + a e + c.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from shared.errors import UsageError
from shared.pointers.field_numbers import uniform
from shared.pointers.tensor_operations import UNIFORM
from shared.pysyft.loading.load import sy
from shared.pysyft.sharing.holders import (
    HIGH,
    LOW,
    Shares,
    at_nodes,
    fetch_all,
    open_shares,
    parts_of,
    require_ring,
    run_at,
    send,
    shared_of,
    split,
    split_at,
)

Product = Callable[[Any, Any], Any]


def triples(
    provider: Any, product: Product, shapes: Sequence[torch.Size], like: Any
) -> tuple[Any, Any, Any]:
    """Shared tensors a, b and a b of the shapes of both factors, made by the provider.

    Args:
        provider: a node, or the worker of this process.
        like: a shared tensor; the triple's holders are its own.
    """
    size = _result_shape(product, *shapes)
    dealt = _at_node if getattr(provider, "takes_commands", False) else _at_home
    made = dealt(provider, product, (*shapes, size), len(like.child))
    holders = [one.location for one in like.child.values()]
    a, b, c = (
        shared_of([send(one, where) for one, where in zip(some, holders, strict=True)], like)
        for some in made
    )
    return a, b, c


def _at_node(
    provider: Any, product: Product, shapes: Sequence[torch.Size], number: int
) -> list[list[Any]]:
    a, b = (run_at(provider, UNIFORM, one, ("t", *one), LOW, HIGH) for one in shapes[:2])
    wholes = (a, b, product(a, b))
    parts = [split_at(*both, number) for both in zip(wholes, shapes, strict=True)]
    values = fetch_all([part for some in parts for part in some])
    return [values[start : start + number] for start in range(0, 3 * number, number)]


def _at_home(
    provider: Any, product: Product, shapes: Sequence[torch.Size], number: int
) -> list[list[Any]]:
    a, b = (torch.tensor(uniform(tuple(one), LOW, HIGH)) for one in shapes[:2])
    return [split(one, number) for one in (a, b, product(a, b))]


def _result_shape(product: Product, first: torch.Size, second: torch.Size) -> torch.Size:
    """Raises UsageError where there is no such product."""
    try:
        if product is torch.mul:
            return torch.Size(np.broadcast_shapes(first, second))
        # numbers without memory of their own
        left, right = (np.broadcast_to(np.int64(0), tuple(one)) for one in (first, second))
        return torch.Size(np.matmul(left, right).shape)
    except ValueError:
        shapes = f"{tuple(first)} and {tuple(second)}"
        raise UsageError(f"there is no product of tensors {shapes}") from None


def multiply(product: Product, x: Any, y: Any, provider: Any) -> Any:
    """The shared product; `product` is torch.mul or torch.matmul."""
    require_ring(x)
    require_ring(y)
    a, b, c = triples(provider, product, (x.shape, y.shape), x)
    d, e = open_shares(x - a, y - b)
    results = []
    own = zip(*map(parts_of, (a, b, c)), strict=True)
    for place, (d_here, e_here, triple) in enumerate(zip(d, e, own, strict=True)):
        a_here, b_here, c_here = triple
        result = product(d_here, b_here) + product(a_here, e_here) + c_here
        results.append(result + product(d_here, e_here) if place == 0 else result)
    shape = _result_shape(product, x.shape, y.shape)
    for result in results:
        result.child.shape = shape
    return shared_of(results, x)


def _value_here(operand: Any) -> Any:
    """The tensor of this process behind an operand; None where there is none."""
    while isinstance(operand, sy.FixedPrecisionTensor) or getattr(operand, "is_wrapper", False):
        operand = operand.child
    is_here = isinstance(operand, torch.Tensor) and not hasattr(operand, "child")
    return operand if is_here else None


def _private(original: Any) -> Any:
    def spdz_mul(cmd: Product, x: Any, y: Any, provider: Any, field: int, dtype: str) -> Any:
        if not at_nodes(x) and not at_nodes(y):
            return original(cmd, x, y, provider, field, dtype)
        if list(x.child) != list(y.child):
            raise UsageError("both factors of a product are shared between the same nodes")
        return multiply(cmd, x, y, provider)

    return spdz_mul


def _public(original: Any) -> Any:
    def _public_mul(self: Any, other: Any, equation: str) -> Any:
        value = _value_here(other)
        if value is not None and at_nodes(self):
            other = value.send(*self.locations, no_wrap=True)  # everybody knows it
        return original(self, other, equation)

    return _public_mul


def _divided(original: Any) -> Any:
    def _public_div(self: Any, divisor: Any) -> Any:
        if len(self.child) > 2 and at_nodes(self):
            raise UsageError(
                "shares of more than two nodes cannot be divided",
                "each divides its own, and with three the remainders of the ring do not cancel",
                "Share between two nodes: fixed-precision products are scaled back by dividing.",
            )
        value = _value_here(divisor)
        if value is not None and at_nodes(self):
            if value.numel() != 1:
                raise UsageError("shares at nodes are divided by one number")
            divisor = int(value.item())
        return original(self, divisor)

    return _public_div


def apply() -> None:
    """Where shares are at nodes; other workers see no difference."""
    sy.frameworks.torch.mpc.spdz.spdz_mul = _private(sy.frameworks.torch.mpc.spdz.spdz_mul)
    Shares._public_mul = _public(Shares._public_mul)
    Shares._public_div = Shares.__floordiv__ = _divided(Shares._public_div)
