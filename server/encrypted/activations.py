"""Sigmoid and tanh of shared numbers: Chebyshev series, whose parts stay small numbers.

T_1 = t, T_2 = 2 t**2 - 1, T_(m+n) = 2 T_m T_n - T_(m-n): as many products after each other as the
degree has bits, all terms of a level in one. tanh, and the sigmoid less 1/2, are odd, so that of
each level the odd terms are needed, and the highest even one. Nothing is compared: the model's
owner knows how far its numbers can reach, whatever the message.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebinterpolate

from server.encrypted.secret import SCALE, Secret
from shared.pysyft import sharing


def exact(name: str, numbers: Any) -> Any:
    """The function itself; a sigmoid that overflows nowhere."""
    return np.tanh(numbers) if name == "tanh" else (1 + np.tanh(numbers / 2)) / 2


@lru_cache(maxsize=64)
def _coefficients(name: str, reach: float, degree: int) -> tuple[float, ...]:
    return tuple(chebinterpolate(lambda t: exact(name, reach * t), degree).tolist())


def largest_error(name: str, reach: float, degree: int) -> float:
    """The series' own, within the reach."""
    t = np.linspace(-1, 1, 10_001)
    found = np.polynomial.chebyshev.chebval(t, _coefficients(name, reach, degree))
    return float(np.abs(found - exact(name, reach * t)).max())


def apply(name: str, secret: Secret, reach: float, degree: int) -> Secret:
    """The series of "tanh" or "sigmoid" of shared numbers (n, k) between -reach and reach.

    Args:
        degree: a power of 2; the terms go up to the one below. Holders know it, and the reach.
    """
    coefficients = _coefficients(name, reach, degree - 1)
    size = secret.shape
    odd = secret.times_known(1 / reach).each(lambda part: part.unsqueeze(0), (1, *size))
    top = (odd * odd).each(lambda part: part * 2).plus(-1)
    while 2 * odd.shape[0] < degree:
        odd, top = _doubled(odd, top)
    scaled = [round(one * SCALE) for one in coefficients[1::2]]
    known = torch.tensor(scaled).reshape(len(scaled), 1, 1)
    weights = [sharing.send(known, holder) for holder in secret.parties.holders]
    sums = [(part * one).sum(0) for part, one in zip(odd.parts, weights, strict=True)]
    found = secret.parties.secret([one.div(SCALE, rounding_mode="trunc") for one in sums], size)
    return found.plus(coefficients[0]) if name == "sigmoid" else found


def _doubled(odd: Secret, top: Secret) -> tuple[Secret, Secret]:
    """T_1, T_3, ... below 4m, and T_4m, of those below 2m (m, n, k) and of T_2m (1, n, k)."""
    number, *size = odd.shape
    both = [torch.cat(pair) for pair in zip(odd.parts, top.parts, strict=True)]
    products = top * odd.parties.secret(both, (number + 1, *size))
    twice = products.each(lambda part: part * 2)
    parts = [
        torch.cat([part, product[:number] - part.flip(0)])
        for part, product in zip(odd.parts, twice.parts, strict=True)
    ]
    highest = twice.each(lambda part: part[number:], (1, *size)).plus(-1)
    return odd.parties.secret(parts, (2 * number, *size)), highest
