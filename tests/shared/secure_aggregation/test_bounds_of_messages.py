"""Every bound of a message at its number, above and below, with messages made by msgpack alone."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import TypeAdapter, ValidationError

from shared.secure_aggregation.canonical import MAX_OWNERS, Canonical, Digest, digest
from shared.secure_aggregation.violation import Violation

ROOM = 160
"""Bytes that a signed message may have beside its body."""


class Note(Canonical):
    kind: ClassVar[str] = "note"
    max_bytes: ClassVar[int] = 400
    value: Any


class Typed(Canonical):
    kind: ClassVar[str] = "typed"
    max_bytes: ClassVar[int] = 400
    words: str
    count: int


def packed(*values: Any) -> bytes:
    found: bytes = msgpack.packb(values)
    return found


@pytest.mark.parametrize(
    ("most", "more"),
    [
        ("x" * 256, "x" * 257),
        ((1,) * (MAX_OWNERS + 1), (1,) * (MAX_OWNERS + 2)),
        (b"x" * 300, {}),
        (None, {"a": 1}),
        (0.5, msgpack.ExtType(5, b"x")),
    ],
    ids=["text", "list", "map", "map of one", "extension"],
)
def test_what_a_message_holds_is_bounded(most: Any, more: Any) -> None:
    assert Note.unpack(packed("note", most), at_most=10_000).value == most
    if more == {}:  # an empty one is no value of ours either, but takes no room
        more = {"": ""}
    with pytest.raises(Violation, match="is no note"):
        Note.unpack(packed("note", more), at_most=10_000)


def test_a_message_is_as_long_as_its_kind_or_its_reader_says() -> None:
    data = packed("note", b"x" * 391)
    assert len(data) == Note.max_bytes
    assert Note.unpack(data).value == b"x" * 391
    with pytest.raises(Violation, match="more than 400 bytes"):
        Note.unpack(packed("note", b"x" * 392))
    assert Note.unpack(packed("note", b"x" * 392), at_most=401).value == b"x" * 392
    with pytest.raises(Violation, match="more than 399 bytes"):
        Note.unpack(data, at_most=399)


@pytest.mark.parametrize(
    "data",
    [
        packed("typed", "words", 1, 2),
        packed("typed", "words"),
        packed("note", "words", 1),
        packed("typed", b"words", 1),
        packed("typed", "words", True),
        packed("typed", "words", "1"),
        packed("typed", "words", 1.0),
        msgpack.packb("typed"),
        msgpack.packb(5),
        b"",
    ],
)
def test_what_is_no_message_of_a_kind_is_malformed_by_its_name(data: bytes) -> None:
    assert Typed.unpack(packed("typed", "words", 1)) == Typed(words="words", count=1)
    with pytest.raises(Violation, match="a message is no typed") as caught:
        Typed.unpack(data)
    assert caught.value.rule == "malformed"


def test_a_message_is_made_of_its_fields_alone_and_stays_as_it_is() -> None:
    with pytest.raises(ValidationError):
        Typed(words="a", count=1, other=2)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Typed(words="a", count="1")  # type: ignore[arg-type]
    made: Any = Typed(words="a", count=1)
    with pytest.raises(ValidationError):
        made.count = 2


@pytest.mark.parametrize(("size", "fits"), [(31, False), (32, True), (33, False)])
def test_a_digest_has_32_bytes(size: int, fits: bool) -> None:
    adapter = TypeAdapter(Digest)
    if fits:
        assert adapter.validate_python(b"d" * size) == b"d" * size
        return
    with pytest.raises(ValidationError):
        adapter.validate_python(b"d" * size)


def test_a_digest_is_sha_256_of_the_bytes_in_a_domain_of_their_own() -> None:
    expected = hashlib.sha256(b"fedsms secure aggregation 1\0" + b"data").digest()
    assert digest(b"data") == digest(b"da", memoryview(b"ta")) == expected
    note = Note(value=7)
    domain = b"fedsms secure aggregation 1\0"
    assert note.digest() == hashlib.sha256(domain + packed("note", 7)).digest()


BODY = packed("note", 7)


@pytest.mark.parametrize("size", [0, 1, 144])
def test_a_signature_has_144_bytes_at_most(size: int) -> None:
    assert Note.read_signed(packed(BODY, b"s" * size)) == (Note(value=7), BODY, b"s" * size)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packed(BODY, b"s" * 145), "is not encoded as it must be"),
        # lengths in more bytes than they need: the same values in other bytes
        (b"\x92\xc6" + len(BODY).to_bytes(4, "big") + BODY + b"\xc4\x01s", "is not encoded"),
        (b"\x92" + msgpack.packb(BODY) + b"\xc5\x00\x01s", "is not encoded as it must be"),
        (packed("note", b"s"), "is no signed note"),
        (packed(BODY, "s"), "is no signed note"),
        (packed(BODY, None), "is no signed note"),
        (packed(BODY), "is no signed note"),
        (packed(BODY, b"s", b"t"), "is no signed note"),
        (b"", "is no signed note"),
    ],
)
def test_what_is_no_signed_message_is_malformed(data: bytes, why: str) -> None:
    with pytest.raises(Violation, match=why):
        Note.read_signed(data)


def test_a_signed_message_has_room_for_its_signature_and_no_more() -> None:
    largest = packed("note", b"x" * 391)
    read = Note.read_signed(packed(largest, b"s" * 144))
    assert read[1] == largest
    for over, limit in ((0, "more than 400 bytes"), (1, "is no signed note")):
        body = b"x" * (400 + ROOM + over - 7)
        data = packed(body, b"s")
        assert len(data) == 400 + ROOM + over
        with pytest.raises(Violation, match=limit):
            Note.read_signed(data)


def test_a_signed_message_is_taken_from_its_signer_alone() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    data = Note(value=7).sign(key)
    assert Note.signed_by(data, key.public_key(), "bob") == Note(value=7)
    with pytest.raises(Violation, match="the note of bob is not signed") as caught:
        Note.signed_by(data, other.public_key(), "bob")
    assert caught.value.rule == "signature"
