"""How nodes are reached: each is dialled at its address, or awaited where it dials in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.link import Link
from server.nodes.port import OnArrival, Port, open_port
from server.nodes.reception import Reception
from shared.identity import folder as identity
from shared.wire.knocks import LONGEST_KNOCK
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts

AT_HAND = replace(DEFAULT_TIMEOUTS, dial_in_wait=LONGEST_KNOCK + 15)
"""For what is asked of whoever is there: a node that dials in is awaited for as long as one that
knocks may pause, and some seconds."""

Reach = Callable[[NodeAddress], Awaitable[Link]]
"""Makes a node's next connection; raises as `dial` does, or as `Places.take`."""
OnListening = Callable[[str], object]
"""Told of the URL at which the coordinator listens, once it does."""


@asynccontextmanager
async def reaching(
    addresses: Sequence[NodeAddress],
    folder: Path = identity.DEFAULT,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    on_listening: OnListening = lambda url: None,
    on_arrival: OnArrival = lambda node, origin: None,
    reception: Reception | None = None,
) -> AsyncIterator[Reach]:
    """Listens, where there are nodes that dial in, while the context lasts.

    Args:
        folder: the coordinator's identity folder, for TLS.
        reception: takes invitations meanwhile; None takes none.

    Raises:
        UsageError, IdentityError: as open_port.
    """
    async with AsyncExitStack() as stack:
        ports: dict[str, Port] = {}
        awaited = [one for one in addresses if one.dials_in]
        for url in sorted({one.url for one in awaited}):
            ids = {one.id for one in awaited if one.url == url}
            opened = open_port(url, ids, folder, timeouts, on_arrival, reception)
            ports[url] = await stack.enter_async_context(opened)
            on_listening(ports[url].url)

        async def reach(address: NodeAddress) -> Link:
            if address.dials_in:
                return await ports[address.url].link(address)
            return await dial(address, folder, timeouts)

        yield reach


@asynccontextmanager
async def connected(
    addresses: Sequence[NodeAddress],
    folder: Path = identity.DEFAULT,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    on_listening: OnListening = lambda url: None,
    given: Reach | None = None,
) -> AsyncIterator[dict[str, Link]]:
    """Links by node id, while the context lasts.

    Args:
        folder: the identity folder, for nodes that are reached with TLS.
        given: reaches them, where somebody listens already.

    Raises:
        NodeUnreachable, HandshakeRefused: for the first of the nodes, by id, that fails.
        IdentityError: TLS is wanted, and the identity is missing or unfit.
    """
    links: dict[str, Link] = {}
    reached = (
        nullcontext(given)
        if given is not None
        else reaching(addresses, folder, timeouts, on_listening)
    )
    async with reached as reach:

        async def keep(address: NodeAddress) -> None:
            links[address.id] = await reach(address)

        try:
            answers = await asyncio.gather(*map(keep, addresses), return_exceptions=True)
            for answer in answers:
                if answer is not None:
                    raise answer
            yield {address.id: links[address.id] for address in addresses}
        finally:
            await asyncio.gather(*(link.close() for link in links.values()))
