"""What the two sides agree on about addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.wire.transport import is_loopback


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
