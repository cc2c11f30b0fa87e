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
    links: dict[str, Link] = {}

    async def keep(address: NodeAddress) -> None:
        links[address.id] = await dial(address)

    try:
        answers = await asyncio.gather(*map(keep, addresses), return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer
        yield {address.id: links[address.id] for address in addresses}
    finally:
        await asyncio.gather(*(link.close() for link in links.values()))
