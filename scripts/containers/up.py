"""Bringing a federation up: networks, certificates, messages, nodes, in this order.

Each step makes what is missing and leaves what is there, so an `up` that was interrupted is
completed by the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from scripts.containers.engine import engine_errors
from scripts.containers.labels import SETTINGS, Federation
from scripts.containers.networks import ensure_network
from scripts.containers.nodes import ensure_node, wait_until_healthy
from scripts.containers.setup import deal_messages, make_certificates
from scripts.containers.states import node_labels
from scripts.data.partition import Partition
from scripts.split_data import owner_names
from shared.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """Who takes part, and how the messages are dealt out; fixed while the federation is up.

    data: the collection. alpha: of the partition dirichlet alone.
    """

    owners: int
    partition: Partition
    alpha: float
    seed: int
    data: Path

    def as_label(self) -> str:
        """Equal for settings that deal equally."""
        return json.dumps(
            {
                "owners": self.owners,
                "partition": self.partition,
                "alpha": self.alpha if self.partition == "dirichlet" else None,
                "seed": self.seed if self.partition != "article" else None,
                "data": hashlib.sha256(self.data.read_bytes()).hexdigest()[:16],
            }
        )

    def flags(self) -> list[str]:
        """As scripts/compose/data.py takes them."""
        alpha, seed = ("--alpha", str(self.alpha)), ("--seed", str(self.seed))
        return ["--partition", self.partition, *alpha, *seed]


def bring_up(
    federation: Federation,
    settings: Settings,
    addresses: IPv4Network | None,
    policies: Mapping[str, Path],
    say: Callable[[str], None],
) -> None:
    """Makes and starts all that is not there or does not run, and waits until it is healthy.

    Args:
        addresses: the range for the owners' networks; None leaves them to the engine.
        policies: owner -> policy.toml; the others' nodes have the defaults.
        say: is told of progress, a line at a time.

    Raises:
        UsageError: it is up with other settings, or a name is taken.
        FedsmsError: as the certificates or the messages failed. NodeFailed: a node did not start.
    """
    _check_settings(federation, settings)
    owners = owner_names(settings.owners)
    for owner in policies.keys() - set(owners):
        raise UsageError(f"no owner is called {owner}", f"there are {', '.join(owners)}")
    for container in federation.containers("setup"):  # of an `up` that was killed
        container.remove(force=True, v=True)
    say(f"Networks of {len(owners)} owner{'s' if len(owners) > 1 else ''} ...")
    networks = {owner: ensure_network(federation, owner, addresses) for owner in owners}
    say("Certificates ...")
    make_certificates(federation, owners, say)
    say("Messages ...")
    rows = deal_messages(federation, owners, settings.data, settings.flags(), say)
    say("Nodes ...")
    nodes = []
    for owner in owners:
        labels = node_labels(settings.as_label(), rows[owner])
        with engine_errors(f"start the node of {owner}"):
            policy = policies.get(owner)
            node = ensure_node(federation, owner, networks[owner], labels, len(owners), policy)
            nodes.append(node)
    wait_until_healthy(nodes, say)


def _check_settings(federation: Federation, settings: Settings) -> None:
    wanted = settings.as_label()
    for node in federation.nodes().values():
        if (label := node.labels[SETTINGS]) == wanted:
            continue
        now, then = json.loads(wanted), json.loads(label)
        changes = [f"{key} {then.get(key)}, not {now[key]}" for key in now if now[key] != then[key]]
        raise UsageError(
            f"the federation {federation.name} is up with other settings",
            ", ".join(changes),
            f"First: python scripts/federation.py down --name {federation.name}",
        )
