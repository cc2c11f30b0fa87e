"""The nodes that a command is given, and whether they may be dialled so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from server.nodes.addresses import NodeAddress, check_distinct, check_protected, parse_node
from shared.errors import UsageError


@dataclass(frozen=True)
class Given:
    """What a user says of the nodes.

    nodes: ID=URL each. identity: the coordinator's identity folder, for wss:// addresses.
    insecure: ws:// addresses of other machines may be dialled.
    """

    nodes: tuple[str, ...]
    identity: Path
    insecure: bool

    def addresses(self) -> list[NodeAddress]:
        """Where the nodes are, checked as `vet` does.

        Raises:
            UsageError: there are none, or one is malformed or given twice.
        """
        if not self.nodes:
            raise UsageError(
                "no node is given",
                next_step="Name each with --node ID=URL, or list them in a federation.toml.",
            )
        found = check_distinct(map(parse_node, self.nodes))
        self.vet(found)
        return found

    def vet(self, found: Sequence[NodeAddress]) -> None:
        """Checks that the nodes may be dialled; says on stderr what is not wrong yet.

        Raises:
            UsageError: one is dialled without TLS, and may not be.
            IdentityError: one is dialled with TLS, and the coordinator's identity is unfit for it.
        """
        warnings = check_protected(found, self.insecure)
        if any(address.is_secure for address in found):
            from shared.identity.folder import load

            warnings += load(self.identity, "coordinator").warnings()
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
