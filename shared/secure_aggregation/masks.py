"""Masks: keys expanded to numbers modulo 2^64, which hide a vector and cancel in a sum.

An owner adds a mask of its own and, for each other owner, one that both derive from their common
secret: the one with the lower id adds it, the other subtracts it (Bonawitz et al., Practical Secure
Aggregation for Privacy-Preserving Machine Learning, CCS 2017). Every key is used for one mask.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.key_agreement import derive

_CHUNK = 2**17  # bytes at a time, so that they stay in the processor's cache
_ZEROS = bytes(_CHUNK)
_NONCE = bytes(12)  # each key makes one mask


def self_mask_key(seed: bytes, owner: str, masking: bytes) -> bytes:
    """The key (32 bytes) of an owner's own mask."""
    return derive(seed, "self mask", masking, owner)


def pair_mask_key(common: bytes, one: str, other: str, masking: bytes) -> bytes:
    """The key (32 bytes) of the mask between two owners, whoever of them derives it."""
    return derive(common, "pair mask", masking, *sorted((one, other)))


def pair_sign(own: str, other: str) -> int:
    """What an owner multiplies the mask between itself and another with: 1 or -1."""
    return 1 if own < other else -1


def add_mask(numbers: Ring, key: bytes, sign: int) -> None:
    """Adds a mask, or subtracts it, in place.

    The mask is the stream that AES-256-GCM would hide a message with: the key's counter stream
    from block 2 (NIST SP 800-38D, 7.1), read as little-endian numbers of 8 bytes. Counter mode by
    itself has the same stream; OpenSSL makes that of GCM several blocks at once where a processor
    can, in 0.4 of the time.

    Args:
        numbers: (N,), changed.
        key: 32 bytes; used for this mask alone.
        sign: 1 or -1.
    """
    stream = Cipher(AES(key), GCM(_NONCE)).encryptor()
    room = bytearray(_CHUNK + 15)
    mask = np.frombuffer(room, "<u8", _CHUNK // 8)
    combine = np.add if sign > 0 else np.subtract
    for start in range(0, numbers.size, mask.size):
        part = numbers[start : start + mask.size]
        stream.update_into(_ZEROS, room)
        combine(part, mask[: part.size], out=part)
