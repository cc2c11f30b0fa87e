"""One signature for many messages: the tree of RFC 6962, and nothing else has its root."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.secure_aggregation.canonical import DOMAIN, MAX_OWNERS
from shared.secure_aggregation.merkle import MAX_PATH, root_and_paths, root_from


def hashed(data: bytes) -> bytes:
    return hashlib.sha256(DOMAIN + data).digest()


def root_by_definition(messages: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word, with our digest for its hash."""
    if len(messages) == 1:
        return hashed(b"\x00" + messages[0])
    half = max(2**power for power in range(8) if 2**power < len(messages))
    left, right = messages[:half], messages[half:]
    return hashed(b"\x01" + root_by_definition(left) + root_by_definition(right))


def some(count: int) -> list[bytes]:
    return [bytes([number]) * (number % 3) for number in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 67, MAX_OWNERS])
def test_the_root_is_that_of_the_rfc_and_every_message_leads_to_it(count: int) -> None:
    messages = some(count)
    root, paths = root_and_paths(messages)
    assert root == root_by_definition(messages)
    for place, (message, path) in enumerate(zip(messages, paths, strict=True)):
        assert root_from(message, place, count, path) == root
        assert len(path) <= MAX_PATH


@settings(deadline=None)
@given(st.integers(2, 20), st.data())
def test_nothing_else_leads_to_the_root(count: int, data: st.DataObject) -> None:
    """Another message, place, number of messages or path."""
    messages = [bytes([number]) for number in range(count)]
    root, paths = root_and_paths(messages)
    place = data.draw(st.integers(0, count - 1))
    message, path = messages[place], paths[place]
    others = data.draw(st.sampled_from([one for one in range(count) if one != place]))
    assert root_from(messages[others], place, count, path) != root
    assert root_from(message, others, count, path) != root
    assert root_from(message, place, count, paths[others]) != root
    bit = data.draw(st.integers(0, 8 * len(path) - 1))
    turned = bytearray(path)
    turned[bit // 8] ^= 1 << bit % 8
    assert root_from(message, place, count, bytes(turned)) != root
    for length in (0, len(path) - 32, len(path) - 1, len(path) + 32):
        assert root_from(message, place, count, (path + bytes(32))[:length]) != root


@pytest.mark.parametrize("count", [1, 2, 5, MAX_OWNERS])
def test_a_path_of_another_length_leads_nowhere(count: int) -> None:
    """Also one whose end alone would lead to the root."""
    messages = some(count)
    root, paths = root_and_paths(messages)
    for place in {0, count - 1}:
        message, path = messages[place], paths[place]
        assert root_from(message, place, count, path) == root
        for before in (b"x", bytes(32), root):
            assert root_from(message, place, count, before + path) is None


def test_the_longest_path_is_that_of_the_first_of_as_many_as_there_may_be() -> None:
    _, paths = root_and_paths(some(MAX_OWNERS))
    assert max(map(len, paths)) == len(paths[0]) == MAX_PATH


def test_an_inner_place_is_no_leaf() -> None:
    root, _ = root_and_paths([b"a", b"b"])
    inside = b"\x01" + hashed(b"\x00a") + hashed(b"\x00b")
    assert hashed(inside) == root
    assert root_from(inside, 0, 1, b"") != root
    assert root_from(inside[1:], 0, 1, b"") != root
