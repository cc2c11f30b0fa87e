"""Standing connections to all nodes of a federation at once, and their orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from server.addresses import NodeAddress
from server.dial import dial
from server.link import Link


@asynccontextmanager
async def connected(addresses: Sequence[NodeAddress]) -> AsyncIterator[dict[str, Link]]:
    """Links by node id, while the context lasts.

    Raises:
        NodeUnreachable, HandshakeRefused: for the first of the nodes, by id, that fails.
    """
    answers = await asyncio.gather(*(dial(one) for one in addresses), return_exceptions=True)
    links = [answer for answer in answers if isinstance(answer, Link)]
    try:
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        named = zip(addresses, links, strict=True)
        yield {address.id: link for address, link in named}
    finally:
        await asyncio.gather(*(link.close() for link in links))
