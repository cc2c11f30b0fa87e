"""What can be done to owners' nodes while a federation is up, one owner after the other.

Each raises UsageError where there is no such owner, before anything is done, or where the node is
not in a state for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from docker.models.containers import Container
from docker.models.networks import Network

from scripts.containers.engine import engine_errors
from scripts.containers.labels import Federation
from scripts.containers.networks import is_connected, join_network
from scripts.containers.nodes import wait_until_healthy
from shared.errors import UsageError

Action = Callable[[Federation, Sequence[str]], None]


def start(federation: Federation, owners: Sequence[str]) -> None:
    """Starts nodes, and waits until they are healthy. Raises NodeFailed where one is not."""
    nodes = [federation.node(owner) for owner in owners]
    for owner, node in zip(owners, nodes, strict=True):
        if node.status == "paused":
            raise UsageError(f"{owner} is paused", next_step="Let it go on with `unpause`.")
        with engine_errors(f"start {owner}"):
            node.start()
    wait_until_healthy(nodes)


def disconnect(federation: Federation, owners: Sequence[str]) -> None:
    for owner, node, network in _on_networks(federation, owners):
        if not is_connected(network, node):
            raise UsageError(f"{owner} is disconnected already")
        with engine_errors(f"disconnect {owner}"):
            network.disconnect(node)


def connect(federation: Federation, owners: Sequence[str]) -> None:
    for owner, node, network in _on_networks(federation, owners):
        if is_connected(network, node):
            raise UsageError(f"{owner} is connected already")
        with engine_errors(f"connect {owner}"):
            join_network(network, node, owner)


def _on_networks(
    federation: Federation, owners: Sequence[str]
) -> list[tuple[str, Container, Network]]:
    nodes = [federation.node(owner) for owner in owners]
    networks = federation.networks()
    for owner in owners:
        if owner not in networks:
            raise UsageError(f"the network of {owner} is gone", next_step="`up` makes it again.")
    return [(owner, node, networks[owner]) for owner, node in zip(owners, nodes, strict=True)]


def _simple(action: str, do: Callable[[Container], None]) -> Action:
    def act(federation: Federation, owners: Sequence[str]) -> None:
        for owner, node in [(owner, federation.node(owner)) for owner in owners]:
            with engine_errors(f"{action} {owner}"):
                do(node)

    return act


ACTIONS: dict[str, Action] = {
    "kill": _simple("kill", lambda node: node.kill()),
    "start": start,
    "pause": _simple("pause", lambda node: node.pause()),
    "unpause": _simple("unpause", lambda node: node.unpause()),
    "disconnect": disconnect,
    "connect": connect,
}
