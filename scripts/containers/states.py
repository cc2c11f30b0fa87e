"""What the engine says of owners' nodes; the nodes themselves are not asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network
from rich import box
from rich.table import Table

from scripts.containers.labels import ROWS, SETTINGS
from scripts.containers.networks import is_connected


@dataclass(frozen=True)
class NodeState:
    """One owner's node.

    rows: training rows, held-out rows, and how many of both are spam.
    """

    owner: str
    state: str
    health: str
    network: str
    train_rows: int
    held_out_rows: int
    spam: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def state_of(owner: str, container: Container, network: Network | None) -> NodeState:
    state = container.attrs["State"]
    status = container.status
    if status == "exited":
        status = f"exited ({state['ExitCode']}{', out of memory' if state['OOMKilled'] else ''})"
    there = network is not None and is_connected(network, container)
    return NodeState(
        owner,
        status,
        health(container) if container.status == "running" else "-",
        "connected" if there else "disconnected",
        **json.loads(container.labels[ROWS]),
    )


def health(container: Container) -> str:
    return str(container.attrs["State"].get("Health", {}).get("Status", "-"))


def node_labels(settings: str, rows: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """What a node's container says of how it was made, and of its rows.

    Args:
        rows: part ("train", "held_out") -> class -> rows.
    """
    counts = {
        "train_rows": sum(rows["train"].values()),
        "held_out_rows": sum(rows["held_out"].values()),
        "spam": sum(part["spam"] for part in (rows["train"], rows["held_out"])),
    }
    return {SETTINGS: settings, ROWS: json.dumps(counts)}


def nodes_table(federation: str, states: Sequence[NodeState]) -> Table:
    table = Table(title=f"Owners of {federation}", title_justify="left", box=box.SIMPLE)
    for name in ("owner", "state", "health", "network"):
        table.add_column(name)
    for name in ("train rows", "held-out rows", "spam"):
        table.add_column(name, justify="right")
    for one in states:
        rows = (one.train_rows, one.held_out_rows, one.spam)
        table.add_row(one.owner, one.state, one.health, one.network, *(f"{n:,}" for n in rows))
    return table
