"""Dialling: who answers, and what becomes of whoever is no node of fedsms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from server.nodes import link as link_module
from server.nodes.addresses import NodeAddress, parse_node
from server.nodes.dial import dial
from server.nodes.status import NodeStatus, ask_all
from shared.errors import FedsmsError, HandshakeRefused, NodeUnreachable, UsageError
from shared.wire import transport
from shared.wire.frames import Frame, Kind, frame, new_request_id, pack_map, parse_frame
from shared.wire.handshake import Greeting
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts
from tests.helpers.peers import Misdeed, false_server, hangs_up, says_text, sends

pytestmark = pytest.mark.timeout(60)


def dial_to(
    answer: Callable[[ServerConnection, Frame], Awaitable[None]],
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> FedsmsError:
    """Dials a server that answers the coordinator's greeting so; gives the error that it gets."""

    async def handler(connection: ServerConnection) -> None:
        await answer(connection, parse_frame(await connection.recv()))
        await connection.wait_closed()

    async def session() -> None:
        async with false_server(handler) as url:
            link = await dial(NodeAddress("bob", url), timeouts=timeouts)
            await link.close()

    with pytest.raises(FedsmsError) as caught:
        asyncio.run(session())
    return caught.value


def greeting(**changed: Any) -> bytes:
    return pack_map({**Greeting(role="node", id="bob").to_map(), **changed})


@pytest.mark.parametrize(
    "answer",
    [
        sends(Kind.HELLO, b""),
        sends(Kind.HELLO, pack_map({})),
        sends(Kind.REPLY, greeting()),
        sends(Kind.REFUSED, b""),
        sends(Kind.REFUSED, pack_map({})),
        sends(Kind.REFUSED, pack_map({"error": 5})),
        sends(Kind.REFUSED, pack_map({"error": "no"})),
        says_text,
    ],
)
def test_an_answer_that_is_no_greeting_is_refused(answer: Misdeed) -> None:
    error = dial_to(answer)
    assert isinstance(error, HandshakeRefused)
    assert "bob" in error.fact
    assert "no node of fedsms" in error.fact


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": {"train": "all"}},
        {"rows": {"train": -1}},
        {"busy": "\x1b[2J"},
        {"most_bytes": -1},
        {"rows": {"train": 5}, "labels": {"train": {"ham": 3, "spam": 3}}},
    ],
)
def test_a_greeting_that_cannot_be_true_is_refused_and_sends_nobody_to_look_for_another_port(
    changed: dict[str, Any],
) -> None:
    error = dial_to(sends(Kind.HELLO, greeting(**changed)))
    assert isinstance(error, HandshakeRefused)
    assert "bob" in error.fact
    assert "cannot be true" in error.fact
    assert "port" not in error.next_step


def test_an_answer_to_another_request_is_refused() -> None:
    async def misdeed(connection: ServerConnection, _: Frame) -> None:
        await connection.send(frame(Kind.HELLO, new_request_id(), greeting()))

    assert isinstance(dial_to(misdeed), HandshakeRefused)


def test_the_coordinator_refuses_by_its_own_judgement() -> None:
    error = dial_to(sends(Kind.HELLO, greeting(protocol=99)))
    assert isinstance(error, HandshakeRefused)
    assert "99" in error.cause


def test_a_node_that_hangs_up_in_the_handshake_is_named() -> None:
    error = dial_to(hangs_up)
    assert isinstance(error, NodeUnreachable)
    assert "hung up in the handshake" in error.fact


def test_who_says_nothing_is_given_up() -> None:
    async def silence(connection: ServerConnection, _: Frame) -> None:
        await connection.wait_closed()

    error = dial_to(silence, Timeouts(handshake_timeout=0.3))
    assert isinstance(error, NodeUnreachable)
    assert "said nothing for 0.3 s" in error.fact


def status_of(handler: Callable[[ServerConnection], Awaitable[None]]) -> NodeStatus:
    async def session() -> list[NodeStatus]:
        async with false_server(handler) as url:
            return await ask_all([NodeAddress("bob", url)])

    return asyncio.run(session())[0]


def test_the_status_of_a_node_that_dies_after_its_greeting_is_an_error() -> None:
    async def handler(connection: ServerConnection) -> None:
        hello = parse_frame(await connection.recv())
        await connection.send(frame(Kind.HELLO, hello.request_id, greeting()))
        connection.transport.abort()

    assert isinstance(status_of(handler).error, NodeUnreachable)


def test_the_status_of_a_node_that_answers_no_ping_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "PING_SECONDS", 0.3)
    monkeypatch.setattr(transport, "CLOSE_SECONDS", 0.3)

    async def handler(connection: ServerConnection) -> None:
        hello = parse_frame(await connection.recv())
        await connection.send(frame(Kind.HELLO, hello.request_id, greeting()))
        connection.transport.pause_reading()
        await connection.wait_closed()

    error = status_of(handler).error
    assert isinstance(error, NodeUnreachable)
    assert "ping" in error.fact


def test_an_address_without_a_scheme_is_dialled_with_tls() -> None:
    assert parse_node("bob=10.0.0.7:8777").url == "wss://10.0.0.7:8777"


@pytest.mark.parametrize("url", ["wss://me:hunter2@host:1", "me:hunter2@host:1", "ws://x@y"])
def test_a_password_in_an_address_is_refused_and_never_shown(url: str) -> None:
    with pytest.raises(UsageError, match="holds a name or a password") as caught:
        parse_node(f"bob={url}")
    assert "hunter2" not in str(caught.value)
