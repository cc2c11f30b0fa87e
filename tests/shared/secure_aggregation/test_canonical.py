"""Messages as bytes: one encoding each, read within bounds; whatever else comes is malformed."""

from __future__ import annotations

import hashlib
import struct
import tracemalloc
from collections.abc import Sequence

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.secure_aggregation.canonical import DOMAIN, Canonical
from shared.secure_aggregation.contents import state_digest
from shared.secure_aggregation.messages import (
    Agreement,
    Context,
    Dealing,
    Dealt,
    Delivery,
    Envelope,
    Keys,
    Masked,
    Opening,
    Proposal,
    Roster,
    Statement,
)
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import context, signer

ALL: list[type[Canonical]] = [
    Context,
    Keys,
    Roster,
    Envelope,
    Dealing,
    Dealt,
    Delivery,
    Masked,
    Proposal,
    Statement,
    Agreement,
    Opening,
]
OF_BYTES = (Roster, Dealt, Delivery, Agreement)
"""Kinds that hold nothing but other messages, which are read one by one."""
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32)
sets = st.lists(ids, unique=True, max_size=20).map(lambda found: tuple(sorted(found)))
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
messages: st.SearchStrategy[Canonical] = st.one_of(
    st.builds(
        Context,
        run=words,
        round=st.integers(1, 2**31 - 1),
        rounds=st.integers(1, 2**31 - 1),
        sum=st.sampled_from(["training", "evaluation"]),
        state=digests,
        recipe=digests,
    ),
    st.builds(Proposal, masking=digests, survivors=sets, lost=sets),
    st.builds(Statement, proposal=digests, owner=ids),
    st.builds(Masked, masking=digests, owner=ids, numbers=st.binary(max_size=8)),
    st.builds(
        Opening,
        proposal=digests,
        owner=ids,
        shares=st.lists(st.tuples(ids, st.binary(min_size=33, max_size=33)), max_size=9).map(tuple),
    ),
)
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
junk = st.recursive(
    leaves | st.binary(max_size=80) | words,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(words, inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(messages)
def test_what_is_packed_is_read_again(message: Canonical) -> None:
    assert type(message).unpack(message.pack()) == message


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ALL), st.binary(max_size=600))
def test_any_other_bytes_are_malformed(kind: type[Canonical], data: bytes) -> None:
    for read in (kind.unpack, kind.read_signed):
        with pytest.raises(Violation) as caught:
            read(data)
        assert caught.value.rule == "malformed"


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([kind for kind in ALL if kind not in OF_BYTES]), st.lists(junk, max_size=8))
def test_any_other_values_are_malformed(kind: type[Canonical], values: list[object]) -> None:
    with pytest.raises(Violation):
        kind.unpack(msgpack.packb((kind.kind, *values)))


@settings(deadline=None)
@given(messages, st.sampled_from(ALL))
def test_a_message_is_of_no_other_kind(message: Canonical, kind: type[Canonical]) -> None:
    if kind is not type(message):
        with pytest.raises(Violation):
            kind.unpack(message.pack())


def test_a_state_is_called_by_its_little_endian_bytes_wherever_they_lie() -> None:
    numbers = np.arange(20, dtype=np.float32)
    expected = hashlib.sha256(DOMAIN + struct.pack("<10f", *range(0, 20, 2))).digest()
    assert state_digest(numbers[::2]) == state_digest(numbers[::2].copy()) == expected
    assert state_digest(numbers[::2].astype(">f4")) == expected


def test_a_value_has_one_encoding() -> None:
    """The same integer in msgpack's longer form would have another digest."""
    good = context().pack()
    assert good.count(b"\x09\xa8training") == 1
    longer = good.replace(b"\x09\xa8training", b"\xce\x00\x00\x00\x09\xa8training")
    assert msgpack.unpackb(longer) == msgpack.unpackb(good)
    with pytest.raises(Violation, match="encoded"):
        Context.unpack(longer)


@pytest.mark.parametrize("kind", ALL)
def test_a_message_above_its_bound_is_not_looked_into(kind: type[Canonical]) -> None:
    with pytest.raises(Violation, match="more than"):
        kind.unpack(b"\x91" * (kind.max_bytes + 1))


@pytest.mark.parametrize("head", [b"\xdd", b"\xc6", b"\xdf", b"\xdb", b"\xc9"])
def test_lengths_that_are_only_claimed_cost_no_memory(head: bytes) -> None:
    tracemalloc.start()
    for kind in ALL:
        with pytest.raises(Violation):
            kind.unpack(head + b"\xff" * 4 + bytes(40))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize(
    "ids_sent",
    [("b", "a"), ("a", "a"), ("a\n",), ("../a",), ("",), [f"o{n:03}" for n in range(101)]],
)
def test_sets_of_ids_are_sorted_unique_bounded_and_plain(ids_sent: Sequence[str]) -> None:
    with pytest.raises(Violation):
        Proposal.unpack(msgpack.packb(("proposal", bytes(32), ids_sent, ())))


def test_a_signature_is_of_the_signer_the_kind_and_every_byte() -> None:
    bob, anne = signer("bob"), signer("anne")
    statement = Statement(proposal=bytes(32), owner="bob")
    signed = statement.sign(bob.key)
    public = bob.key.public_key()
    assert Statement.signed_by(signed, public, "bob") == statement
    with pytest.raises(Violation, match="not signed by"):
        Statement.signed_by(signed, anne.key.public_key(), "bob")
    body, signature = msgpack.unpackb(signed)
    changed = msgpack.packb((body.replace(b"bob", b"bab"), signature))
    with pytest.raises(Violation, match="not signed by"):
        Statement.signed_by(changed, public, "bob")
    with pytest.raises(Violation, match="no envelope"):
        Envelope.signed_by(signed, public, "bob")
    for unsigned in (statement.pack(), msgpack.packb((body, b"")), msgpack.packb((body,))):
        with pytest.raises(Violation):
            Statement.signed_by(unsigned, public, "bob")
