"""What the two sides agree on about addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import Close, CloseCode

from shared.wire.frames import MAX_FRAME_BYTES
from shared.wire.transport import (
    BACK_SOON,
    NOT_NOW,
    REPLACED,
    describe_close,
    is_loopback,
    transport_options,
)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"],
)
def test_loopback_is_told(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "127.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "128.0.0.1",
        "::ffff:10.0.0.7",
        "::2",
        "2130706433",
    ],
)
def test_what_others_may_reach_is_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@given(st.ip_addresses(v=4))
def test_every_address_is_judged_as_the_standard_has_it(
    address: ipaddress.IPv4Address,
) -> None:
    expected = address in ipaddress.ip_network("127.0.0.0/8")
    assert is_loopback(str(address)) is expected
    assert is_loopback(f"::ffff:{address}") is expected
    assert not is_loopback(f"{address}.example")


def test_codes_of_a_goodbye_are_those_that_both_sides_have_agreed_on() -> None:
    """Numbers of the protocol: an older peer knows them too. 4000 and above are a program's own."""
    assert (BACK_SOON, REPLACED, NOT_NOW) == (4000, 4001, 1013)
    assert CloseCode(NOT_NOW) is CloseCode.TRY_AGAIN_LATER


def test_both_sides_compress_nothing_ping_not_by_websockets_and_wait_little_for_a_goodbye() -> None:
    options = transport_options()
    assert options == {
        "compression": None,
        "max_size": MAX_FRAME_BYTES,
        "max_queue": 16,
        "ping_interval": None,
        "ping_timeout": None,
        "close_timeout": 2.0,
    }


def test_how_a_connection_ended_is_told_in_words() -> None:
    """Theirs are quoted; ours need not be."""
    ok, theirs = Close(1000, "we are done"), Close(1008, 'so "there"\nnode bob is gone')
    told = [
        (None, None, "it broke without a goodbye"),
        (None, ok, "this side closed it (1000 we are done)"),
        (None, Close(1011, ""), "this side closed it (1011)"),
        (Close(1001, ""), None, "the other side closed it (1001)"),
        (Close(1001, ""), ok, "the other side closed it (1001)"),
        (
            theirs,
            ok,
            "the other side closed it (1008 \"so 'there'\\nnode bob is gone\")",
        ),
    ]
    for received, sent, words in told:
        kind = ConnectionClosedError if received is None and sent is None else ConnectionClosed
        assert describe_close(kind(received, sent, True if received and sent else None)) == words
    assert is_loopback("no.such.host") is False
