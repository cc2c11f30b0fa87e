from __future__ import annotations

from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import FedsmsError, HandshakeRefused, NodeFailed, NodeUnreachable
from shared.wire.frames import (
    MAX_MAP_BYTES,
    Kind,
    MalformedFrame,
    frame,
    new_request_id,
    pack_error,
    pack_map,
    parse_frame,
    unpack_error,
    unpack_map,
)

request_ids = st.binary(min_size=16, max_size=16)


@given(st.sampled_from(Kind), request_ids, st.binary(max_size=200))
def test_a_frame_comes_back_as_it_was_made(kind: Kind, request_id: bytes, payload: bytes) -> None:
    parsed = parse_frame(frame(kind, request_id, payload))
    assert (parsed.kind, parsed.request_id, bytes(parsed.payload)) == (kind, request_id, payload)


def test_a_frame_without_a_payload_is_a_frame() -> None:
    assert bytes(parse_frame(frame(Kind.REPLY, new_request_id(), b"")).payload) == b""


@given(st.one_of(st.binary(max_size=200), st.text(max_size=50)))
def test_no_bytes_raise_anything_but_malformed_frame(data: bytes | str) -> None:
    try:
        parsed = parse_frame(data)
    except MalformedFrame:
        return
    assert frame(parsed.kind, parsed.request_id, parsed.payload) == data


@pytest.mark.parametrize("kind", [0, 8, 255])
def test_an_unknown_kind_is_named(kind: int) -> None:
    with pytest.raises(MalformedFrame, match=f"unknown kind of frame {kind}"):
        parse_frame(bytes((kind,)) + new_request_id())


@given(st.binary(max_size=300))
def test_no_payload_raises_anything_but_malformed_frame(data: bytes) -> None:
    try:
        assert isinstance(unpack_map(data), dict)
    except MalformedFrame as error:
        str(error).encode("ascii")  # it travels back as the reason of a close


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9), inner),
    max_leaves=20,
)


@given(anything)
def test_of_all_msgpack_only_maps_with_text_keys_are_read(values: object) -> None:
    try:
        unpacked = unpack_map(msgpack.packb(values))
    except MalformedFrame:
        return
    assert isinstance(values, dict)
    assert all(isinstance(key, str) for key in unpacked)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (pack_map({"a": bytes(MAX_MAP_BYTES)}), "at most"),
        (b"\x91" * 100_000, "not msgpack"),
        (b"\x81\xc4\x01a\x01", "text keys"),
        (b"\x81\xa1\xff\x01", "not msgpack"),
        (b"\xdf\xff\xff\xff\xff", "not msgpack"),
        (pack_map({}) + b"\x00", "not msgpack"),
        (b"", "not msgpack"),
    ],
    ids=["oversized", "deep", "bytes as key", "bad UTF-8", "bomb", "trailing", "empty"],
)
def test_a_hostile_map_is_malformed(payload: bytes, why: str) -> None:
    with pytest.raises(MalformedFrame, match=why):
        unpack_map(payload)


def test_an_error_keeps_its_kind_and_words_on_its_way() -> None:
    sent = HandshakeRefused("they do not fit", "versions differ", "Install the same.")
    received = unpack_error(pack_error(sent))
    assert type(received) is HandshakeRefused
    assert str(received) == str(sent)


def test_an_error_that_is_only_of_the_other_side_arrives_as_node_failed() -> None:
    # a node that says "unreachable" must not make the coordinator believe its own line is cut
    assert type(unpack_error(pack_error(NodeUnreachable("no disk")))) is NodeFailed


@given(anything)
def test_a_hostile_error_is_an_error_of_ours_or_malformed(values: object) -> None:
    with suppress(MalformedFrame):
        assert isinstance(unpack_error(msgpack.packb(values)), FedsmsError)
