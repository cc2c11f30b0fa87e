"""One signature for many messages: of the root of a tree of their digests.

The tree is that of RFC 6962, 2.1 (Certificate Transparency; after Merkle, A Certified Digital
Signature, CRYPTO 1989): leaves and inner places are told apart, and a tree of n leaves is split at
the largest power of two below n, so that a leaf's place and the number of leaves say how its path
is to be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.secure_aggregation.canonical import digest

DIGEST_BYTES = 32
MAX_PATH = 7 * DIGEST_BYTES
"""Bytes of the longest path to one of 128 leaves."""


def root_and_paths(messages: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The root (32 bytes), and for each message the digests beside its way up, lowest first.

    Args:
        messages: one or more.
    """
    return _grow([_leaf(message) for message in messages])


def root_from(message: bytes, place: int, count: int, path: bytes) -> bytes | None:
    """The root of a tree with this message in it; None for a path of another length.

    Args:
        place: of the message, 0 to count - 1.
        count: messages in the tree.
    """
    if count == 1:
        return None if path else _leaf(message)
    rest, beside = path[:-DIGEST_BYTES], path[-DIGEST_BYTES:]
    left = _left_of(count)
    if place < left:
        below = root_from(message, place, left, rest)
        return None if below is None else _inner(below, beside)
    below = root_from(message, place - left, count - left, rest)
    return None if below is None else _inner(beside, below)


def _grow(leaves: list[bytes]) -> tuple[bytes, list[bytes]]:
    if len(leaves) == 1:
        return leaves[0], [b""]
    half = _left_of(len(leaves))
    (left, left_paths), (right, right_paths) = _grow(leaves[:half]), _grow(leaves[half:])
    paths = [path + right for path in left_paths] + [path + left for path in right_paths]
    return _inner(left, right), paths


def _left_of(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def _leaf(message: bytes) -> bytes:
    return digest(b"\0" + message)


def _inner(left: bytes, right: bytes) -> bytes:
    return digest(b"\1" + left + right)
