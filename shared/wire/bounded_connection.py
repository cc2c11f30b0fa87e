"""A WebSocket connection whose use of memory and time is bounded, whatever the other side sends.

What websockets itself bounds: the size of a message, its fragments, the HTTP request and the time
of TLS and of that request. What it leaves, and this class adds:

- bytes that wait to be read: websockets counts frames, of which 16 may have 64 MiB each;
- the size of the first message, before anybody knows who sends it;
- control frames: each ping is answered, and answers that nobody reads pile up;
- messages that arrive a byte at a time, and a peer that takes none of what is sent to it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State

from shared.wire.heartbeat import Heard, HeardClient, HeardServer
from shared.wire.lean_connection import below_tls
from shared.wire.token_buckets import TokenBucket

GREETING_BYTES = 2**16
"""Largest message of somebody whose handshake is not done."""
CONTROL_BURST = 256
CONTROL_RATE = 20.0
"""Pings, pongs and the like of one connection: at once, and a second."""
SLICE_BYTES = 2**14
"""Read at a time: many small frames are looked at before more of them are parsed."""
MESSAGE_SECONDS = 30.0
SLOWEST_BYTES = 4096.0
"""How long a message may take: some seconds, and one more for so many bytes."""
STALLED_SECONDS = 120.0
"""How long a peer may take nothing of what waits for it. Else it would hold its place for ever:
a node that waits for room in the line does not read, and blames nobody for silence."""
CHECK_SECONDS = 5.0


class BoundedConnection(Heard):
    """Ends with 1008 where a bound is passed. `greeted` widens the bounds to a known peer's."""

    _waiting_bytes = 0
    _most_waiting = GREETING_BYTES
    _control: TokenBucket
    _message_began: float | None = None
    _message_bytes = 0
    _held = False
    _wants_reading = True
    _timer: asyncio.TimerHandle | None = None
    _unsent = 0
    _stalled_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.protocol.max_message_size = GREETING_BYTES
        self._control = TokenBucket(CONTROL_BURST, CONTROL_RATE, time.monotonic())
        # websockets pauses by the number of frames, we by their bytes: both must want to read
        self.recv_messages.pause = lambda: self._read_if(False)
        self.recv_messages.resume = lambda: self._read_if(True)
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check_time)

    def greeted(self, most_bytes: int) -> None:
        """From now on messages have up to `most_bytes`; of which some may wait."""
        self.protocol.max_message_size = most_bytes
        self._most_waiting = most_bytes

    def data_received(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(bytes(view[start : start + SLICE_BYTES]))
            self._follow_message(len(view[start : start + SLICE_BYTES]))

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame):
            if event.opcode in DATA_OPCODES:
                self._waiting_bytes += len(event.data)
            elif not self._control.take(time.monotonic()):
                self._end("too many control frames")
                return
        super().process_event(event)
        self._hold()

    async def recv(self, decode: Any = None) -> Any:
        message = await super().recv(decode)
        self._waiting_bytes = max(0, self._waiting_bytes - len(message))
        self._hold()
        return message

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _hold(self) -> None:
        """Stops reading while too much waits; a message under way always comes to its end."""
        complete = self.protocol.current_size is None
        held = self._waiting_bytes > self._most_waiting and complete
        if held != self._held:
            self._held = held
            self._apply_reading()

    def _read_if(self, wanted: bool) -> None:
        self._wants_reading = wanted
        self._apply_reading()

    def _apply_reading(self) -> None:
        if self.transport.is_closing():
            return
        if self._wants_reading and not self._held:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _follow_message(self, received: int) -> None:
        """Notes since when a message is under way, and how much of it has come."""
        under_way = self.protocol.current_size is not None or len(self.protocol.reader.buffer) > 0
        if not under_way:
            self._message_began, self._message_bytes = None, 0
        elif self._message_began is None:
            self._message_began, self._message_bytes = time.monotonic(), 0
        else:
            self._message_bytes += received

    def _check_time(self) -> None:
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check_time)
        if self._is_stalled():
            self._end("nothing of what is sent is taken")
            return
        reading = self._wants_reading and not self._held
        if self._message_began is None:
            return
        if not reading:  # it is we who do not read
            self._message_began += CHECK_SECONDS
            return
        allowed = MESSAGE_SECONDS + self._message_bytes / SLOWEST_BYTES
        if time.monotonic() - self._message_began > allowed:
            self._end("a message that comes too slowly")

    def _is_stalled(self) -> bool:
        before, self._unsent = self._unsent, unsent_bytes(self.transport)
        now = time.monotonic()
        if not self._unsent or self._unsent < before or self._stalled_since is None:
            self._stalled_since = now
        return now - self._stalled_since > STALLED_SECONDS

    def _end(self, why: str) -> None:
        """Ends the connection at once: who breaks these bounds may not read a goodbye either."""
        if self.transport.is_closing():
            return
        if self.protocol.state is State.OPEN:
            self.protocol.fail(1008, why)
            self.send_data()
        self.transport.abort()


class BoundedServer(BoundedConnection, HeardServer):
    """A connection that came in."""


class BoundedClient(BoundedConnection, HeardClient):
    """A connection to somebody who is not known yet, opened by this side."""


def unsent_bytes(transport: asyncio.WriteTransport) -> int:
    """What waits to be taken. asyncio's TLS hands an answer over to the TCP transport at once, and
    tells no more of it: a line that takes some of it would look like one that takes nothing."""
    below = below_tls(transport)
    waiting = transport.get_write_buffer_size()
    return waiting if below is None else waiting + below.get_write_buffer_size()
