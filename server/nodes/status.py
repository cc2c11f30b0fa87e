"""Who answers: versions, rows and round trip of each node, also while it trains."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from shared.errors import FedsmsError
from shared.identity.folder import DEFAULT
from shared.wire.handshake import Greeting


@dataclass(frozen=True)
class NodeStatus:
    """One node's answer, or why there is none.

    round_trip: seconds of a ping there and back.
    """

    address: NodeAddress
    greeting: Greeting | None = None
    round_trip: float | None = None
    error: FedsmsError | None = None

    def as_dict(self) -> dict[str, Any]:
        greeting = self.greeting
        return {
            "node": self.address.id,
            "url": self.address.url,
            "answers": greeting is not None,
            "error": str(self.error) if self.error else None,
            "versions": greeting.versions if greeting else None,
            "rows": greeting.rows if greeting else None,
            "labels": greeting.labels if greeting else None,
            "busy": greeting.busy if greeting else None,
            "round_trip_seconds": self.round_trip,
        }


async def ask_all(addresses: Sequence[NodeAddress], identity: Path = DEFAULT) -> list[NodeStatus]:
    """Every node's status, asked at the same time. Raises nothing for a node that fails."""
    return list(await asyncio.gather(*(_ask(address, identity) for address in addresses)))


async def _ask(address: NodeAddress, identity: Path) -> NodeStatus:
    try:
        link = await dial(address, identity)
        try:
            return NodeStatus(address, link.greeting, await link.round_trip())
        finally:
            await link.close()
    except FedsmsError as error:
        return NodeStatus(address, error=error)


def status_table(statuses: Sequence[NodeStatus]) -> Table:
    table = Table(title="Nodes", title_justify="left", box=box.SIMPLE)
    for name in ("node", "address", "answers"):
        table.add_column(name)
    for name in ("train rows", "held-out rows", "spam"):
        table.add_column(name, justify="right")
    table.add_column("versions")
    table.add_column("round trip", justify="right")
    table.add_column("busy with")
    for status in statuses:
        table.add_row(*_cells(status))
    return table


def _cells(status: NodeStatus) -> list[str]:
    address, greeting = status.address, status.greeting
    if greeting is None or status.round_trip is None:
        why = status.error.cause.splitlines()[0] if status.error and status.error.cause else ""
        return [address.id, address.url, f"no: {why or status.error}", *[""] * 6]
    rows, versions = greeting.rows, greeting.versions
    return [
        address.id,
        address.url,
        "yes",
        str(rows.get("train", "-")),
        str(rows.get("held_out", "-")),
        _spam(greeting),
        " ".join(f"{name} {versions.get(name, '-')}" for name in ("fedsms", "syft", "torch")),
        f"{1000 * status.round_trip:.1f} ms",
        greeting.busy or "-",
    ]


def _spam(greeting: Greeting) -> str:
    """Share of spam among all rows, or that the owner does not tell."""
    if greeting.labels is None:
        return "hidden"
    parts = greeting.labels.values()
    spam = sum(part.get("spam", 0) for part in parts)
    rows = sum(sum(part.values()) for part in parts)
    return f"{100 * spam / rows:.1f} %" if rows else "-"
