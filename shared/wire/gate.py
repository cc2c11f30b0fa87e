"""The gate: how many may come in, and how fast, from one address, before anything is known of them.

Whom it turns away is turned away before TLS, which costs some microseconds. A connection
counts as a stranger's until its handshake is done; then its session counts for its coordinator.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.errors import UsageError, describe_os_error
from shared.wire.token_buckets import TokenBuckets

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closed at once, nothing kept for the other side
REMEMBERED = 4096
"""Addresses whose rate is known."""
_TOLD_SECONDS = 60.0

log = logging.getLogger("fedsms.gate")


@dataclass(frozen=True)
class GateSettings:
    """strangers: connections whose handshake is not done, in all and of one address.
    connections: TCP connections in all. rate, burst: new ones of one address, a second and at once.
    """

    strangers: int = 64
    strangers_of_one: int = 24
    connections: int = 128
    rate: float = 20.0
    burst: float = 200.0


class Gate:
    """Counts connections by the address they come from."""

    def __init__(
        self,
        settings: GateSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or GateSettings()
        self._clock = clock
        self._open: dict[tuple[Any, ...], str] = {}  # both ends' addresses and ports -> group
        self._strangers: Counter[str] = Counter()
        self._buckets = TokenBuckets(self.settings.burst, self.settings.rate, REMEMBERED)
        self._told = -_TOLD_SECONDS
        self._refused = 0

    def admit(self, address: tuple[Any, ...], ours: tuple[Any, ...] = ()) -> bool:
        """Whether a connection from this address may come in; then `left` must be called.

        Args:
            ours: where it came to; one port of the other side may reach several of our addresses.
        """
        group, settings = group_of(address), self.settings
        why = ""
        if len(self._open) >= settings.connections:
            why = "too many connections are open"
        elif self._strangers.total() >= settings.strangers:
            why = "too many connections are in their handshake"
        elif self._strangers[group] >= settings.strangers_of_one:
            why = "too many of its connections are in their handshake"
        elif not self._may_connect(group):
            why = "it connects too often"
        if why:
            self._tell(group, why)
            return False
        self._open[address, ours] = group
        self._strangers[group] += 1
        return True

    def greeted(self, address: tuple[Any, ...], ours: tuple[Any, ...] = ()) -> None:
        """Its handshake is done: it is no stranger any more. Idempotent."""
        group = self._open.get((address, ours))
        if group:
            self._open[address, ours] = ""
            self._less(group)

    def left(self, address: tuple[Any, ...], ours: tuple[Any, ...] = ()) -> None:
        group = self._open.pop((address, ours), None)
        if group:
            self._less(group)

    def _less(self, group: str) -> None:
        self._strangers[group] -= 1
        if self._strangers[group] <= 0:
            del self._strangers[group]

    def _may_connect(self, group: str) -> bool:
        now = self._clock()
        return self._buckets.of(group, now).take(now)

    def _tell(self, group: str, why: str) -> None:
        """A flood must not fill the log."""
        self._refused += 1
        now = self._clock()
        if now - self._told >= _TOLD_SECONDS:
            log.warning(
                "turned away %d connections; the last, of %s: %s", self._refused, group, why
            )
            self._told, self._refused = now, 0


def group_of(address: tuple[Any, ...]) -> str:
    """Who counts as one: an IPv4 address, or a /64 of IPv6, which one machine may have all of."""
    try:
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except (ValueError, IndexError):
        return "?"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


class _Counted(socket.socket):
    """An accepted connection that tells the gate when it is closed, however that comes about."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        on_close, self.on_close = self.on_close, None
        super().close()
        if on_close is not None:
            on_close()


class GatedSocket(socket.socket):
    """A listening socket whose `accept` passes whom the gate turns away."""

    gate: Gate

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError for whom it turned away: asyncio then tries again."""
        accepted, address = super().accept()
        ours = accepted.getsockname()
        if not self.gate.admit(address, ours):
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            accepted.close()
            raise ConnectionAbortedError
        counted = _Counted(accepted.family, accepted.type, accepted.proto, accepted.detach())
        gate = self.gate
        counted.on_close = lambda: gate.left(address, ours)
        return counted, address


def gated_sockets(who: str, host: str, port: int, gate: Gate) -> list[GatedSocket]:
    """Sockets bound to every address of the host, for a server to listen at.

    Args:
        who: would listen there; for the error.
        port: 0 takes a free one, the same for all.

    Raises:
        UsageError: an address is not this machine's, or the port is taken.
    """
    made: list[GatedSocket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, proto, _, address in dict.fromkeys(found):
            one = GatedSocket(family, kind, proto)
            made.append(one)
            one.gate = gate
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], port, *address[2:]))
            port = one.getsockname()[1]
            one.setblocking(False)
    except (OSError, UnicodeError) as error:
        for one in made:
            one.close()
        why = (
            describe_os_error(error) if isinstance(error, OSError) else "its host name is not known"
        )
        raise UsageError(
            f"{who} cannot listen at {host}:{port}",
            why,
            "Give another --host or --port; --port 0 takes a free one.",
        ) from error
    return made
