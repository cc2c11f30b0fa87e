"""The gate's counts: whoever leaves is forgotten, however the connection came about."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from shared.wire.gate import Gate, GatedSocket, GateSettings, gated_sockets

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
