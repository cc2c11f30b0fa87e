"""Noise that nobody can draw again: Gaussian, on the grid of a sum, from the operating system.

A key and a counter from the operating system's generator are expanded by AES-256 in counter mode;
no seed of a coordinator's, and neither numpy's nor torch's generator, has a part in it. Each number
is a Gaussian one (Box and Muller 1958, from 64 bits for the length and 64 for the angle) rounded to
an integer. Rounding what is added to an integer is rounding the sum: the release is that of the
Gaussian mechanism, rounded, and rounding takes no privacy. The 64 bits end the tail at 9.4 standard
deviations, beyond which the true one has 10^-20 of its mass.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

LEAST_DEVIATION = 1000.0
"""Units; with less, the grid would be too coarse for a sum of owners' noise to be Gaussian."""
_TWO_64 = 2.0**64


def gaussian(deviation: float, count: int) -> npt.NDArray[np.int64]:
    """New noise (count,), in units.

    Args:
        deviation: standard deviation, LEAST_DEVIATION to 2^50.

    Raises:
        ValueError: it is not between these.
    """
    if not LEAST_DEVIATION <= deviation <= 2.0**50:
        raise ValueError(f"noise of {deviation:g} units cannot be drawn")
    pairs = (count + 1) // 2
    words = np.frombuffer(_random(16 * pairs), "<u8").astype(np.float64)
    length = np.sqrt(-2 * np.log((words[:pairs] + 0.5) / _TWO_64))
    angle = words[pairs:] * (2 * np.pi / _TWO_64)
    drawn = np.concatenate([length * np.cos(angle), length * np.sin(angle)])[:count]
    return np.rint(drawn * deviation).astype(np.int64)


def _random(size: int) -> bytes:
    stream = Cipher(AES(os.urandom(32)), CTR(os.urandom(16))).encryptor()
    return stream.update(bytes(size))
