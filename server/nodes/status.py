"""Who answers: versions, rows and round trip of each node, also while it trains."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.nodes.addresses import NodeAddress
from server.nodes.reaching import AT_HAND, Reach, reaching
from shared.errors import FedsmsError
from shared.identity.folder import DEFAULT
from shared.wire.handshake import Greeting


@dataclass(frozen=True)
class NodeStatus:
    """One node's answer, or why there is none.

    round_trip: seconds of a ping there and back.
    origin: address that it dialled in from; "" where it was dialled.
    """

    address: NodeAddress
    greeting: Greeting | None = None
    round_trip: float | None = None
    error: FedsmsError | None = None
    origin: str = ""

    @property
    def shown_address(self) -> str:
        """Where it is, for tables."""
        return f"dials in from {self.origin}" if self.origin else self.address.shown

    def as_dict(self) -> dict[str, Any]:
        greeting = self.greeting
        return {
            "node": self.address.id,
            "url": self.address.url,
            "dials_in": self.address.dials_in,
            "origin": self.origin or None,
            "answers": greeting is not None,
            "error": str(self.error) if self.error else None,
            "versions": greeting.versions if greeting else None,
            "rows": greeting.rows if greeting else None,
            "labels": greeting.labels if greeting else None,
            "busy": greeting.busy if greeting else None,
            "round_trip_seconds": self.round_trip,
        }


async def ask_all(addresses: Sequence[NodeAddress], identity: Path = DEFAULT) -> list[NodeStatus]:
    """Every node's status, asked at the same time. Raises nothing for a node that fails.

    A node that dials in is awaited for as long as one takes that knocks.

    Raises:
        UsageError, IdentityError: nobody can dial in here.
    """
    async with reaching(addresses, identity, AT_HAND) as reach:
        return list(await asyncio.gather(*(_ask(address, reach) for address in addresses)))


async def _ask(address: NodeAddress, reach: Reach) -> NodeStatus:
    try:
        link = await reach(address)
        try:
            return NodeStatus(address, link.greeting, await link.round_trip(), origin=link.origin)
        finally:
            await link.close()
    except FedsmsError as error:
        return NodeStatus(address, error=error)
