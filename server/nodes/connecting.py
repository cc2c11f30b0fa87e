"""Standing connections to all nodes of a federation at once, and their orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.link import DEFAULT_TIMEOUTS, Link
from shared.identity.folder import DEFAULT
from shared.wire.timeouts import Timeouts


@asynccontextmanager
async def connected(
    addresses: Sequence[NodeAddress],
    identity: Path = DEFAULT,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> AsyncIterator[dict[str, Link]]:
    """Links by node id, while the context lasts.

    Args:
        identity: the identity folder, for nodes that are dialled with TLS.

    Raises:
        NodeUnreachable, HandshakeRefused: for the first of the nodes, by id, that fails.
        IdentityError: TLS is wanted, and the identity is missing or unfit.
    """
    links: dict[str, Link] = {}

    async def keep(address: NodeAddress) -> None:
        links[address.id] = await dial(address, identity, timeouts)

    try:
        answers = await asyncio.gather(*map(keep, addresses), return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer
        yield {address.id: links[address.id] for address in addresses}
    finally:
        await asyncio.gather(*(link.close() for link in links.values()))
