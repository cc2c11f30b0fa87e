"""The gate's counts: whoever leaves is forgotten, however the connection came about."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from shared.errors import UsageError
from shared.wire.gate import REMEMBERED, Gate, GatedSocket, GateSettings, gated_sockets, group_of

OURS = ("127.0.0.1", "127.0.0.2")


@contextmanager
def gated(settings: GateSettings) -> Iterator[GatedSocket]:
    (listener,) = gated_sockets("bob", "0.0.0.0", 0, Gate(settings))
    with listener:
        listener.listen()
        yield listener


def dial(listener: GatedSocket, address: str, source: tuple[str, int]) -> socket.socket:
    """Stands when it returns, and waits to be accepted."""
    dialled = socket.socket()
    dialled.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    dialled.bind(source)
    dialled.connect((address, listener.getsockname()[1]))
    return dialled


def accepted(listener: GatedSocket) -> list[socket.socket]:
    """Whom the gate lets in, of those who wait."""
    found = []
    with suppress(BlockingIOError):
        while True:
            with suppress(ConnectionAbortedError):
                found.append(listener.accept()[0])
    return found


def test_one_port_that_reaches_two_of_our_addresses_is_two_and_leaves_nothing_behind() -> None:
    with gated(GateSettings(strangers=2, strangers_of_one=2)) as listener:
        for _ in range(3):
            with ExitStack() as dialled:
                first = dialled.enter_context(dial(listener, OURS[0], ("127.0.0.9", 0)))
                dialled.enter_context(dial(listener, OURS[1], first.getsockname()))
                inside = accepted(listener)
                assert len(inside) == 2
                for one in inside:
                    one.close()


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_strangers_than_the_settings_say_come_in_at_a_time(most: int) -> None:
    with gated(GateSettings(strangers_of_one=most)) as listener, ExitStack() as dialled:
        for _ in range(most + 2):
            dialled.enter_context(dial(listener, OURS[0], ("127.0.0.9", 0)))
        inside = accepted(listener)
        assert len(inside) == most
        for one in inside:
            one.close()


# The counts alone, with addresses and a clock of the test's


def ends(host: str, port: int) -> tuple[str, int]:
    return host, port


OPEN = {"strangers": 10**6, "strangers_of_one": 10**6, "connections": 10**6, "burst": 1e6}


def admits(gate: Gate, number: int, host: str = "10.0.0.1") -> list[bool]:
    return [gate.admit(ends(host, 1000 + port)) for port in range(number)]


@pytest.mark.parametrize("bound", ["connections", "strangers", "strangers_of_one", "burst"])
def test_each_bound_holds_alone_at_its_number(bound: str) -> None:
    gate = Gate(GateSettings(**{**OPEN, bound: 3}), clock=lambda: 0.0)  # type: ignore[arg-type]
    assert admits(gate, 5) == [True] * 3 + [False] * 2
    others = gate.admit(ends("10.0.0.2", 9))
    assert others is (bound in ("strangers_of_one", "burst"))


def test_who_was_greeted_is_a_connection_and_no_stranger() -> None:
    gate = Gate(GateSettings(**{**OPEN, "strangers": 2, "connections": 3}))  # type: ignore[arg-type]
    first = [ends("10.0.0.1", 1), ends("10.0.0.1", 2)]
    assert [gate.admit(one) for one in first] == [True, True]
    assert not gate.admit(ends("10.0.0.1", 3))
    for _ in range(2):  # saying it again changes nothing
        gate.greeted(first[0])
    assert gate.admit(ends("10.0.0.1", 3))
    gate.greeted(first[1])
    assert not gate.admit(ends("10.0.0.1", 4))  # three are open
    for _ in range(2):
        gate.left(first[0])
    assert gate.admit(ends("10.0.0.1", 4))
    gate.greeted(ends("10.0.0.1", 99))  # nobody's
    gate.left(ends("10.0.0.1", 99))
    assert not gate.admit(ends("10.0.0.1", 5))


def test_whom_it_turned_away_takes_no_place() -> None:
    gate = Gate(GateSettings(**{**OPEN, "strangers_of_one": 1}), clock=lambda: 0.0)  # type: ignore[arg-type]
    assert admits(gate, 3) == [True, False, False]
    gate.left(ends("10.0.0.1", 1000))
    assert gate.admit(ends("10.0.0.1", 2000))
    assert not gate.admit(ends("10.0.0.1", 2001))


def test_an_address_connects_at_its_rate_once_its_burst_is_used_up() -> None:
    now = [0.0]
    settings = GateSettings(**{**OPEN, "burst": 3, "rate": 2.0})  # type: ignore[arg-type]
    gate = Gate(settings, clock=lambda: now[0])
    assert admits(gate, 4) == [True, True, True, False]
    now[0] = 0.4
    assert not gate.admit(ends("10.0.0.1", 1))
    now[0] = 0.5
    assert gate.admit(ends("10.0.0.1", 1))
    assert not gate.admit(ends("10.0.0.1", 2))
    assert gate.admit(ends("10.0.0.2", 1))
    now[0] = 1000.0
    assert admits(gate, 4) == [True, True, True, False]


def test_an_address_is_remembered_until_so_many_others_have_come() -> None:
    gate = Gate(GateSettings(**{**OPEN, "burst": 1}), clock=lambda: 0.0)  # type: ignore[arg-type]
    first = ends("10.0.0.1", 1)

    def others_come(number: int, block: int) -> None:
        for count in range(number):
            host = f"10.{block}.{count // 256}.{count % 256}"
            assert gate.admit(ends(host, 1))

    assert gate.admit(first)
    others_come(REMEMBERED - 1, 1)
    assert not gate.admit(first)  # the last to come now
    others_come(REMEMBERED, 2)
    assert gate.admit(first)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8:0:2::1", "2001:db8:0:3::1", False),  # of one /63
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("no address", "none either", True),
    ],
)
def test_who_counts_as_one(one: str, other: str, is_same: bool) -> None:
    assert (group_of((one, 1)) == group_of((other, 2))) is is_same
    assert group_of(()) == "?"


def test_a_flood_is_a_line_a_minute_that_counts_it(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    gate = Gate(GateSettings(**{**OPEN, "strangers": 0}), clock=lambda: now[0])  # type: ignore[arg-type]
    for moment in (0.0, 1.0, 59.0, 60.0, 61.0):
        now[0] = moment
        assert not gate.admit(ends("10.0.0.1", 1))
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(";")[0] for line in told] == [
        "turned away 1 connections",
        "turned away 3 connections",
    ]
    assert "of 10.0.0.1" in told[0]


def test_a_port_that_is_taken_is_told_and_nothing_stays_bound() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"bob cannot listen at 127.0.0.1:{port}"):
            gated_sockets("bob", "127.0.0.1", port, Gate())
    with pytest.raises(UsageError, match="bob cannot listen at no"):
        gated_sockets("bob", "no.such.host.invalid", 0, Gate())


def test_the_settings_are_those_of_docs_security() -> None:
    assert GateSettings() == GateSettings(
        strangers=64, strangers_of_one=24, connections=128, rate=20.0, burst=200.0
    )


def test_both_families_of_a_host_have_one_port_and_each_its_own_socket() -> None:
    made = gated_sockets("bob", "localhost", 0, Gate())
    try:
        assert len({one.getsockname()[1] for one in made}) == 1
        for one in made:
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            if one.family == socket.AF_INET6:
                assert one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    finally:
        for one in made:
            one.close()


def test_a_socket_does_not_wait_and_a_port_serves_again_at_once() -> None:
    (listener,) = gated_sockets("bob", "127.0.0.1", 0, Gate())
    with listener:
        listener.listen()
        assert not listener.getblocking()
        port = listener.getsockname()[1]
        with dial(listener, "127.0.0.1", ("127.0.0.1", 0)):
            (inside,) = accepted(listener)
            inside.close()  # first, so that the port is left in TIME_WAIT
    (again,) = gated_sockets("bob", "127.0.0.1", port, Gate())
    again.close()


A, B = ("10.0.0.1", 1), ("10.0.0.2", 1)


def at(address: tuple[str, int], port: int) -> tuple[str, int]:
    return address[0], port


def test_each_that_leaves_makes_room_for_one_and_no_more() -> None:
    gate = Gate(GateSettings(strangers=10, strangers_of_one=2))
    assert gate.admit(at(A, 1))
    assert gate.admit(at(A, 2))
    assert not gate.admit(at(A, 3))
    gate.left(at(A, 1))
    gate.left(at(A, 1))  # once is all that counts
    assert gate.admit(at(A, 4))
    assert not gate.admit(at(A, 5))


def test_who_was_greeted_makes_room_once_whether_it_stays_or_leaves() -> None:
    gate = Gate(GateSettings(strangers=10, strangers_of_one=2))
    assert gate.admit(at(A, 1))
    assert gate.admit(at(A, 2))
    gate.greeted(at(A, 1))
    gate.greeted(at(A, 1))
    gate.greeted(at(B, 9))  # of whom nothing is known
    assert gate.admit(at(A, 3))
    assert not gate.admit(at(A, 4))
    gate.left(at(A, 1))
    assert not gate.admit(at(A, 5))


def test_nothing_is_remembered_of_strangers_who_have_left() -> None:
    gate = Gate(GateSettings())
    for port in range(3):
        assert gate.admit(at(A, port))
        assert gate.admit(at(B, port))
    for port in range(3):
        gate.left(at(A, port))
    assert dict(gate._strangers) == {"10.0.0.2": 3}
    for port in range(3):
        gate.greeted(at(B, port))
    assert dict(gate._strangers) == {}


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300])
def test_a_host_that_there_is_not_is_told_as_one(host: str) -> None:
    with pytest.raises(UsageError) as caught:
        gated_sockets("bob", host, 0, Gate())
    assert ("host name" in caught.value.cause) or ("known" in caught.value.cause)
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(UsageError, match="in use"):
        gated_sockets("bob", "127.0.0.1", taken.getsockname()[1], Gate())
