"""The seed that a node trains with: the coordinator's, mixed with what the node alone knows.

A coordinator that knew the order of rows could ask for the training in which the row that it wants
comes first, or in a step of its own. What is mixed in is a digest of the owner's rows, so that the
same node, seed and rows give the same bits after a restart, a renewed certificate or a move, and
nothing more has to be kept secret than the rows themselves. Who knows all rows knows the order.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable

_ROW = struct.Struct("<QQ")
_ROWS = b"fedsms rows"
_SEED = b"fedsms seed"
_MARK = b"fedsms mark"


def secret_of(parts: Iterable[tuple[Iterable[bytes], Iterable[int]]]) -> bytes:
    """32 bytes that nobody can tell who does not know all of an owner's rows.

    Args:
        parts: texts in UTF-8 and labels, the rows to train on and then those held out.
    """
    digest = hashlib.blake2b(digest_size=32, person=_ROWS)
    for texts, labels in parts:
        digest.update(b"part")
        for text, label in zip(texts, labels, strict=True):
            digest.update(_ROW.pack(len(text), label) + text)
    return digest.digest()


def mark_of(secret: bytes) -> str:
    """Four hexadecimal digits by which other rows are known, in most cases, and nothing else.

    16 bits miss a change once in 65,536 times; whoever knows all rows but one learns no more than
    that of it.

    Args:
        secret: what `secret_of` gives.
    """
    return hashlib.blake2b(b"", digest_size=2, key=secret, person=_MARK).hexdigest()


def mixed_seed(secret: bytes, seed: int) -> int:
    """The seed of one training, 0 to 2^63 - 1.

    Args:
        secret: what `secret_of` gives.
        seed: the coordinator's, 0 to 2^63 - 1.
    """
    data = struct.pack("<Q", seed)
    digest = hashlib.blake2b(data, digest_size=8, key=secret, person=_SEED).digest()
    return int.from_bytes(digest, "little") >> 1
