"""Nodes of pointer sessions in this process: real clients, real sessions, and no socket between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from server.encrypted.sealed import SealedParties
from server.pointers.api import in_loop
from server.pointers.client import PointerClient
from shared.pointers.sealed_sessions import SealedContext
from shared.pysyft import make_hook
from shared.wire.handshake import Greeting
from shared.wire.timeouts import DEFAULT_TIMEOUTS
from tests.helpers.sealed import context_of, parties_of
from worker_node.pointers.child import make_decoder
from worker_node.pointers.sealed_operations import Part
from worker_node.pointers.sealed_session import SealedSession
from worker_node.pointers.session import PointerSession

Learned = Callable[[str, int, list[float]], None]


class LinkHere:
    """Hands frames to a session of this process, as a link does to one of another."""

    def __init__(self, session: PointerSession, most_bytes: int = 0) -> None:
        self._session = session
        self.timeouts = DEFAULT_TIMEOUTS
        self.greeting = Greeting(role="node", id="here", most_bytes=most_bytes)
        self.sent: list[int] = []

    async def post(self, kind: object, payload: bytes) -> None:
        self.sent.append(len(payload))
        self._session.handle(payload)

    async def request(self, payload: bytes, **_: object) -> memoryview:
        self.sent.append(len(payload))
        answer = self._session.handle(payload)
        assert answer is not None
        return memoryview(answer)


async def _client(name: str, link: Any) -> PointerClient:
    return PointerClient(name, link)


@contextmanager
def clients(sessions: dict[str, PointerSession], most_bytes: int = 0) -> Iterator[list[Any]]:
    """A worker of PySyft's for each session, by its node's id."""
    make_hook()
    opened: list[PointerClient] = []
    try:
        for name, session in sessions.items():
            opened.append(in_loop(_client(name, LinkHere(session, most_bytes))))
        yield opened
    finally:
        for one in opened:
            one.leave()


@contextmanager
def sharing_here(names: Sequence[str] = ("bob", "anne", "carol")) -> Iterator[list[Any]]:
    """Sessions without rows, as `open_shared` begins them."""
    make_hook()
    sessions = {
        name: PointerSession(make_decoder(), (), lambda: (), 7, True, lambda _: None)
        for name in names
    }
    with clients(sessions) as opened:
        yield opened


@contextmanager
def sealed_here(
    ids: np.ndarray[Any, Any],
    words: int,
    context: SealedContext | None = None,
    tells: bool = True,
    most_bytes: int = 0,
    learned: Learned = lambda *_: None,
) -> Iterator[SealedParties]:
    """A sealed session of this process. Args: ids: of the owner's messages (rows, tokens)."""
    make_hook()
    context = context or context_of()
    seals = parties_of(context).seals
    none = np.empty((0, ids.shape[1]), np.int64)
    sessions: dict[str, PointerSession] = {}
    for name in (*context.holders, context.provider, context.owner):
        own = ids if name == context.owner else none
        part = Part(name, context, seals[name], own, words, tells)
        sessions[name] = SealedSession(
            make_decoder(), part, lambda *one: learned(context.owner, *one), lambda _: None
        )
    with clients(sessions, most_bytes) as opened:
        by_id = {one.id: one for one in opened}
        first, second = (by_id[one] for one in context.holders)
        yield SealedParties((first, second), by_id[context.provider], by_id[context.owner])
