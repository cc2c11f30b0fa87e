"""A link: the coordinator's end of one connection to one node.

It sends requests, gives each its answer by id, and counts the bytes. Any number of requests may be
open at a time. Nothing here knows what the requests mean, or who dialled whom: a Link is made of
a connection that stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from shared.errors import (
    PAUSE,
    POLICY_ADVICE,
    FedsmsError,
    HandshakeRefused,
    NodeFailed,
    NodeTimeout,
    NodeUnreachable,
    PolicyRefused,
)
from shared.quoting import quoted
from shared.wire.frames import (
    REQUEST_ID_BYTES,
    Frame,
    Kind,
    MalformedFrame,
    frame,
    new_request_id,
    pack_map,
    parse_frame,
    unpack_error,
    unpack_map,
)
from shared.wire.handshake import Greeting, check, greeting_from
from shared.wire.heartbeat import Heard, watch
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts, limit
from shared.wire.transport import describe_close

PING_SECONDS = 10.0
"""How long a ping may take there and back."""

_REFUSALS = (
    CloseCode.PROTOCOL_ERROR,
    CloseCode.UNSUPPORTED_DATA,
    CloseCode.INVALID_DATA,
    CloseCode.MESSAGE_TOO_BIG,
)
"""Close codes of a node that would do the same with the same message again: no loss."""

OnEvent = Callable[[dict[str, Any]], None]

log = logging.getLogger("fedsms.coordinator")


@dataclass
class _Open:
    """A request that has no answer yet."""

    answer: asyncio.Future[memoryview]
    on_event: OnEvent | None


class Link:
    """One standing connection to a node, after its handshake.

    Attributes:
        greeting: what the node said of itself.
        origin: address that a node dialled in from; "" where it was dialled.
        certificate: fingerprint of the certificate that it proved itself with; None without TLS.
        timeouts: how long its operations may take.
        loss: done as soon as the connection is, with the reason.
        bytes_sent, bytes_received: payload and header bytes of all frames since the handshake.
    """

    def __init__(
        self,
        connection: Heard,
        name: str,
        greeting: Greeting,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        certificate: str | None = None,
    ) -> None:
        self.name = name
        self.origin = ""
        self.greeting = greeting
        self.timeouts = timeouts
        self.certificate = certificate
        self.loss: asyncio.Future[FedsmsError] = asyncio.get_running_loop().create_future()
        self.bytes_sent = 0
        self.bytes_received = 0
        self._connection = connection
        self._open: dict[bytes, _Open] = {}
        self._watch = asyncio.create_task(watch(connection, timeouts.heartbeat))
        self._reader = asyncio.create_task(self._read())

    async def post(self, kind: Kind, payload: bytes) -> None:
        """Sends a frame that has no answer. Raises NodeUnreachable where the connection is lost."""
        if self.loss.done():
            raise self.loss.result()
        data = frame(kind, bytes(REQUEST_ID_BYTES), payload)
        self._require_room(data)
        try:
            await self._connection.send(data)
        except ConnectionClosed as error:
            raise self._loss(error) from error
        self.bytes_sent += len(data)

    async def request(
        self,
        payload: bytes,
        on_event: OnEvent | None = None,
        seconds: float = 0,
        kind: Kind = Kind.REQUEST,
    ) -> memoryview:
        """Sends a request and waits for its answer. Safe to cancel; the node is not told.

        Args:
            payload: a serialised PySyft message, or pointer commands that ask for an answer.
            on_event: called with each event that the node sends before the answer.
            seconds: how long to wait; 0 waits as long as the connection stands.
            kind: REQUEST or COMMANDS.

        Returns:
            The payload of the node's reply.

        Raises:
            NodeUnreachable: the connection is lost. NodeTimeout: no answer came in time.
            PolicyRefused: the owner's policy allows no message of that size.
            FedsmsError: the error that the node answered.
        """
        if self.loss.done():
            raise self.loss.result()
        request_id = new_request_id()
        data = frame(kind, request_id, payload)
        self._require_room(data)
        waiting = _Open(asyncio.get_running_loop().create_future(), on_event)
        # Where sending fails first, nobody looks at the answer any more, and that is no news.
        waiting.answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        self._open[request_id] = waiting
        try:
            async with asyncio.timeout(limit(seconds)):
                await self._connection.send(data)
                self.bytes_sent += len(data)
                return await waiting.answer
        except TimeoutError:
            raise NodeTimeout(f"{self.name} gave no answer within {seconds:g} s") from None
        except ConnectionClosed as error:
            raise self._loss(error) from error
        finally:
            del self._open[request_id]

    async def round_trip(self) -> float:
        """Seconds that a ping takes there and back; the node answers even while it trains.

        Raises:
            NodeUnreachable: the connection is lost. NodeTimeout: no answer came in time.
        """
        started = time.perf_counter()
        try:
            async with asyncio.timeout(PING_SECONDS):
                await (await self._connection.ping())
        except TimeoutError:
            fact = f"{self.name} gave no answer to a ping within {PING_SECONDS:g} s"
            raise NodeTimeout(fact) from None
        except ConnectionClosed as error:
            raise self._loss(error) from error
        return time.perf_counter() - started

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Says goodbye. Idempotent."""
        await self._connection.close(code, reason)
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    def abort(self) -> None:
        """Ends it without a goodbye, for which there is no room in the line."""
        self._connection.transport.abort()

    async def ended(self) -> None:
        """Waits until the connection is lost, or closed. Safe to cancel."""
        await asyncio.wait([self.loss])

    def _require_room(self, data: bytes) -> None:
        """Raises PolicyRefused for what the node would only hang up on."""
        most = self.greeting.most_bytes
        if most and len(data) > most:
            raise PolicyRefused(
                f"{self.name} takes no message of {len(data):,} bytes",
                f"its owner's policy allows models of which a message has {most:,} at most "
                "(rule recipe.parameters)",
                "Send a smaller model, or ask the node's owner to change policy.toml.",
            )

    def _loss(self, error: ConnectionClosed) -> FedsmsError:
        if error.rcvd is not None and error.rcvd.code in _REFUSALS:
            return NodeFailed(
                f"{self.name} hung up on what was sent",
                describe_close(error),
                "The same would be answered so again; the node's own log says more.",
            )
        silence = f"it said nothing for {self.timeouts.heartbeat:g} s"
        return NodeUnreachable(
            f"lost the connection to {self.name}",
            silence if self._connection.silent else describe_close(error),
            "Look at the node's own log, and at the network between the two machines.",
        )

    async def _read(self) -> None:
        lost: FedsmsError
        try:
            while True:
                data = await self._connection.recv()
                self.bytes_received += len(data)
                self._take(parse_frame(data))
                del data  # or each idle connection would keep its node's last model
        except ConnectionClosed as error:
            lost = self._loss(error)
        except MalformedFrame as error:
            lost = HandshakeRefused(f"{self.name} does not keep to the protocol", str(error))
        except FedsmsError as error:  # of an event that is not what it should be
            lost = error
        except Exception as error:  # whatever a peer sends, who waits for its answers must hear
            log.exception("what %s sent could not be read", self.name)
            lost = HandshakeRefused(f"{self.name} sent what cannot be read", type(error).__name__)
        self._watch.cancel()
        self.loss.set_result(lost)
        for waiting in self._open.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(lost)
        await self._connection.close(1002)

    def _take(self, received: Frame) -> None:
        waiting = self._open.get(received.request_id)
        if waiting is None or waiting.answer.done():
            return  # the answer to a request that was given up
        if received.kind is Kind.EVENT:
            if waiting.on_event is not None:
                waiting.on_event(unpack_map(received.payload))
        elif received.kind is Kind.REPLY:
            waiting.answer.set_result(received.payload)
        elif received.kind is Kind.ERROR:
            waiting.answer.set_exception(
                told_by(f"{self.name} answered", unpack_error(received.payload))
            )
        else:
            raise MalformedFrame(f"a {received.kind.name} frame from a node")


def told_by(who: str, error: FedsmsError) -> FedsmsError:
    """A node's error as ours: its words quoted, its advice among them.

    Args:
        who: says it, and about what; the error's fact.
    """
    is_policy = isinstance(error, PolicyRefused) and error.rule != PAUSE
    ours = POLICY_ADVICE if is_policy else ""
    advice = f". {error.next_step}" if error.next_step not in ("", ours) else ""
    told = type(error)(who, quoted(error.words + advice), ours)
    if isinstance(told, PolicyRefused) and isinstance(error, PolicyRefused):
        told.rule = error.rule
    return told


async def greet(connection: Heard, ours: Greeting, name: str) -> Greeting:
    """The coordinator's half of the handshake, over a connection that was just opened.

    Args:
        name: of the node, for errors.

    Raises:
        HandshakeRefused: the two sides do not fit together, by either's judgement.
        MalformedFrame, ConnectionClosed: the other side is no node of fedsms.
    """
    request_id = new_request_id()
    await connection.send(frame(Kind.HELLO, request_id, pack_map(ours.to_map())))
    answer = parse_frame(await connection.recv())
    if answer.kind is Kind.REFUSED:
        told = unpack_map(answer.payload)
        if isinstance(theirs := told.get("greeting"), dict):
            check(ours, greeting_from(theirs))  # where we see it too, our own words say it better
        refusal = told.get("error")
        raise told_by(
            f"{name} answered", unpack_error(refusal if isinstance(refusal, bytes) else b"")
        )
    if answer.kind is not Kind.HELLO or answer.request_id != request_id:
        raise MalformedFrame("no answer to the handshake")
    theirs = greeting_from(unpack_map(answer.payload))
    check(ours, theirs)
    return theirs
