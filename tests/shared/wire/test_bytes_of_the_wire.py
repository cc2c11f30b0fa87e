"""The bytes of the protocol as they were written down once: an older peer reads the same."""

from __future__ import annotations

import msgpack
import pytest

from shared.errors import (
    CertificateRefused,
    DataError,
    FedsmsError,
    HandshakeRefused,
    IdentityError,
    NodeFailed,
    NodeTimeout,
    NodeUnreachable,
    PolicyRefused,
    StorageError,
    UsageError,
)
from shared.wire.frames import (
    MAX_MAP_BYTES,
    MAX_WORDS,
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

KINDS = {
    "HELLO": 1,
    "REFUSED": 2,
    "REQUEST": 3,
    "REPLY": 4,
    "ERROR": 5,
    "EVENT": 6,
    "COMMANDS": 7,
}
ID = bytes(range(16))


def test_the_kinds_of_frames_have_their_numbers_for_good() -> None:
    assert {kind.name: kind.value for kind in Kind} == KINDS


@pytest.mark.parametrize("name", KINDS)
def test_a_frame_is_a_byte_of_its_kind_sixteen_of_its_id_and_the_payload(name: str) -> None:
    data = frame(Kind[name], ID, b"abc")
    assert data == bytes([KINDS[name], *range(16), 97, 98, 99])
    parsed = parse_frame(data)
    assert (parsed.kind, parsed.request_id, bytes(parsed.payload)) == (Kind[name], ID, b"abc")


def test_what_is_no_frame_says_why() -> None:
    with pytest.raises(MalformedFrame, match="a text message"):
        parse_frame("\x03" + "a" * 30)
    with pytest.raises(MalformedFrame, match="16 bytes; a frame has at least 17"):
        parse_frame(bytes([3]) + ID[:15])
    for kind in (0, 8, 255):
        with pytest.raises(MalformedFrame, match=f"unknown kind of frame {kind}"):
            parse_frame(bytes([kind]) + ID)


def test_ids_of_requests_are_sixteen_bytes_that_nobody_guesses() -> None:
    drawn = {new_request_id() for _ in range(100)}
    assert len(drawn) == 100
    assert {len(one) for one in drawn} == {16}


def test_a_map_is_read_up_to_its_bound() -> None:
    def of_size(size: int) -> bytes:
        filling = size - len(pack_map({"a": b"x" * 70_000})) + 70_000
        return pack_map({"a": b"x" * filling})

    assert len(of_size(MAX_MAP_BYTES)) == 2**20
    assert list(unpack_map(of_size(2**20))) == ["a"]
    with pytest.raises(MalformedFrame, match="at most 1048576 are read"):
        unpack_map(of_size(2**20 + 1))


def with_rule(rule: str) -> PolicyRefused:
    error = PolicyRefused("no", "why", "next")
    error.rule = rule
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NodeFailed("no", "why", "next"), NodeFailed),
        (HandshakeRefused("no", "why", "next"), HandshakeRefused),
        (CertificateRefused("no", "why", "next"), CertificateRefused),
        (UsageError("no", "why", "next"), UsageError),
        (PolicyRefused("no", "why", "next"), PolicyRefused),
        # of one side alone: the other is told that the node failed
        *(
            (made("no", "why", "next"), NodeFailed)
            for made in (DataError, IdentityError, NodeTimeout, NodeUnreachable, StorageError)
        ),
    ],
)
def test_an_error_is_a_map_of_its_kind_and_words(
    error: FedsmsError, kind: type[FedsmsError]
) -> None:
    told = msgpack.unpackb(pack_error(error))
    words = {"fact": "no", "cause": "why", "next_step": "next"}
    rule = {"rule": ""} if kind is PolicyRefused else {}
    assert told == {"kind": kind.__name__, **words, **rule}
    found = unpack_error(pack_error(error))
    assert type(found) is kind
    assert (found.fact, found.cause, found.next_step) == ("no", "why", "next")


@pytest.mark.parametrize("rule", ["recipe.rounds", "a" * 64])
def test_the_rule_that_says_no_travels_along(rule: str) -> None:
    found = unpack_error(pack_error(with_rule(rule)))
    assert isinstance(found, PolicyRefused)
    assert found.rule == rule


@pytest.mark.parametrize("rule", ["a" * 65, "a rule", "Rule", "x\n", 7, None])
def test_a_rule_that_is_none_is_passed_over(rule: object) -> None:
    told = {"kind": "PolicyRefused", "fact": "no", "rule": rule}
    found = unpack_error(msgpack.packb(told))
    assert isinstance(found, PolicyRefused)
    assert found.rule == ""


@pytest.mark.parametrize("kind", ["SystemExit", "StorageError", "FedsmsError", None, 7, ["x"]])
def test_a_kind_of_error_that_does_not_travel_is_a_node_that_failed(kind: object) -> None:
    assert type(unpack_error(msgpack.packb({"kind": kind, "fact": "no"}))) is NodeFailed


def test_words_are_read_up_to_their_bound_and_must_be_text() -> None:
    long = {"fact": "a" * 10_001, "cause": "b" * 10_000, "next_step": "c" * 200_000}
    found = unpack_error(msgpack.packb({"kind": "NodeFailed", **long}))
    assert MAX_WORDS == 10_000
    assert [len(one) for one in (found.fact, found.cause, found.next_step)] == [10_000] * 3
    for name in long:
        for wrong in (7, None, ["a"], {"a": 1}):
            with pytest.raises(MalformedFrame, match="no text"):
                unpack_error(msgpack.packb({"kind": "NodeFailed", name: wrong}))
    bare = unpack_error(msgpack.packb({}))
    assert (type(bare), bare.fact, bare.cause) == (NodeFailed, "", "")
