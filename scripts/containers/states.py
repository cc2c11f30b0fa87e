"""What the engine says of owners' nodes; the nodes themselves are not asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from docker.models.containers import Container
from docker.models.networks import Network

from scripts.containers.labels import ROWS, SETTINGS
from scripts.containers.networks import is_connected
from server.display.fitting import Column, Fitted


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


def nodes_table(federation: str, states: Sequence[NodeState]) -> Fitted:
    words = {
        "owner": [one.owner for one in states],
        "state": [one.state for one in states],
        "health": [one.health for one in states],
        "network": [one.network for one in states],
    }
    numbers = {
        "train rows": [one.train_rows for one in states],
        "held-out rows": [one.held_out_rows for one in states],
        "spam": [one.spam for one in states],
    }
    return Fitted(
        f"Owners of {federation}",
        [
            *(Column(name, cells) for name, cells in words.items()),
            *(
                Column(name, [f"{n:,}" for n in cells], right=True)
                for name, cells in numbers.items()
            ),
        ],
    )
