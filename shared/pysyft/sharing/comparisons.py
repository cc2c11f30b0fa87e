"""Comparison of shared tensors at nodes: is a number below 0, without anybody learning which.

PySyft's SecureNN (0.2.5) opens a value to the holders under one mask for all numbers of a tensor,
which tells them every difference, and has them pass bits through the provider. Here the provider
gives shares of r and of the bits of r, drawn anew for each number; the holders open c = a + r,
which is uniform, and compute the sign of a = c - r on shares of bits:

    a < 0  =  c_63 xor r_63 xor (c mod 2**63 < r mod 2**63)

The borrow is found in a tree, from pairs (r is above there, both are equal there) of neighbouring
bits; see D. Catrina and S. de Hoogh, *Improved Primitives for Secure Multiparty Integer
Computation*, SCN 2010. Seven products and one opening, whatever the number of numbers.
"""

from __future__ import annotations

from typing import Any

import torch

from shared.pointers.field_numbers import BITS, bits, uniform
from shared.pointers.tensor_operations import BITS_OF, UNIFORM
from shared.pysyft.loading.load import sy
from shared.pysyft.sharing.holders import (
    HIGH,
    LOW,
    at_nodes,
    fetch_all,
    open_shares,
    operate,
    parts_of,
    require_ring,
    run_at,
    send,
    shared_of,
    split,
    split_at,
)
from shared.pysyft.sharing.products import multiply


def is_not_negative(a: Any) -> Any:
    """Shares of 1 where the shared number is 0 or more, else of 0; of the same shape."""
    require_ring(a)
    provider, shape = a.crypto_provider, torch.Size(a.shape)
    mask, mask_bits = _masks(provider, shape, a)
    (opened,) = open_shares(a + mask)
    known = [operate(BITS_OF, one, torch.Size((*shape, BITS))) for one in opened]
    below = _borrow(known, mask_bits, a)
    top = shared_of([one[..., BITS - 1] for one in parts_of(mask_bits)], a)
    both = multiply(torch.mul, _sized(top, shape), _sized(below, shape), provider)
    differ = top + below - both * 2
    results = []
    for place, (sign, part) in enumerate(zip(known, parts_of(differ), strict=True)):
        c = sign[..., BITS - 1]
        flipped = part - c * part * 2  # t xor c = t + c - 2 c t
        results.append(1 - c - flipped if place == 0 else -flipped)
    return _sized(shared_of(results, a), shape)


def _borrow(known: list[Any], mask_bits: Any, like: Any) -> Any:
    """Shares of whether c mod 2**63 < r mod 2**63.

    Args:
        known: bits (..., 64) of c, at each holder. mask_bits: shares of those of r.
    """
    above, equal = [], []
    for place, (c, r) in enumerate(zip(known, parts_of(mask_bits), strict=True)):
        low_c, low_r = c[..., : BITS - 1], r[..., : BITS - 1]
        greater, same = (1 - low_c) * low_r, (low_c * 2 - 1) * low_r
        if place == 0:
            same = same + (1 - low_c)
        # a lowest place in which both are equal makes it 64, a whole tree
        pad = torch.nn.functional.pad
        above.append(pad(greater, (1, 0), "constant", 0))
        equal.append(pad(same, (1, 0), "constant", int(place == 0)))
    size = BITS
    shape = list(like.shape)
    while size > 1:
        size //= 2
        half = torch.Size((2, *shape, size))
        high_equal = [torch.stack([one[..., 1::2]] * 2) for one in equal]
        lower = [
            torch.stack([one[..., 0::2], other[..., 0::2]])
            for one, other in zip(above, equal, strict=True)
        ]
        first, second = (_sized(shared_of(some, like), half) for some in (high_equal, lower))
        products = parts_of(multiply(torch.mul, first, second, like.crypto_provider))
        above = [one[..., 1::2] + both[0] for one, both in zip(above, products, strict=True)]
        equal = [both[1] for both in products]
    return shared_of([one[..., 0] for one in above], like)


def _sized(shared: Any, shape: torch.Size) -> Any:
    """The same, whose shape need not be asked for."""
    for pointer in shared.child.values():
        pointer.shape = shape
    return shared


def _masks(provider: Any, shape: torch.Size, like: Any) -> tuple[Any, Any]:
    """Shares of uniform numbers, and of their bits."""
    number, wide = len(like.child), torch.Size((*shape, BITS))
    if getattr(provider, "takes_commands", False):
        mask = run_at(provider, UNIFORM, shape, ("t", *shape), LOW, HIGH)
        parts = [
            *split_at(mask, shape, number),
            *split_at(operate(BITS_OF, mask, wide), wide, number),
        ]
        values = fetch_all(parts)
    else:
        drawn = uniform(tuple(shape), LOW, HIGH)
        values = [*split(torch.tensor(drawn), number), *split(torch.tensor(bits(drawn)), number)]
    holders = [one.location for one in like.child.values()]
    mask, mask_bits = (
        shared_of([send(one, where) for one, where in zip(some, holders, strict=True)], like)
        for some in (values[:number], values[number:])
    )
    return mask, mask_bits


def _at_nodes_otherwise(original: Any) -> Any:
    def relu_deriv(a_sh: Any) -> Any:
        return is_not_negative(a_sh) if at_nodes(a_sh) else original(a_sh)

    return relu_deriv


def apply() -> None:
    """All of PySyft's comparisons ask this one function, and so do relu, max and division."""
    securenn = sy.frameworks.torch.mpc.securenn
    securenn.relu_deriv = _at_nodes_otherwise(securenn.relu_deriv)
