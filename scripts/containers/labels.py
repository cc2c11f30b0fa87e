"""A federation's containers, networks and volumes: what they are called, and known by.

Everything carries the label `fedsms.federation=NAME`, and is looked up by it alone. What has the
name of one of ours, but not the label, is somebody else's: it is an error, and is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.models.volumes import Volume

from scripts.split_data import owner_names
from shared.errors import UsageError

FEDERATION = "fedsms.federation"
ROLE = "fedsms.role"
OWNER = "fedsms.owner"
SETTINGS = "fedsms.settings"
ROWS = "fedsms.rows"
POLICY = "fedsms.policy"

MAX_OWNERS = 256
Role = Literal["node", "coordinator", "setup"]
"""Of a container; also the target of the Dockerfile that its image is made of."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True)
class Federation:
    """One federation on an engine, by its name.

    tag: of the images that its containers are made of.
    """

    client: docker.DockerClient
    name: str
    tag: str = "latest"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot be a federation's name",
                "its containers are called after it",
                "Use letters, digits, - and _, and begin with a letter or digit.",
            )

    def image(self, target: Role) -> str:
        return f"fedsms-{target}:{self.tag}"

    def called(self, *parts: str) -> str:
        """The name of one of its things, as fedsms-carol-data."""
        return "-".join((self.name, *parts))

    def labels(self, role: Role | None = None, owner: str | None = None) -> dict[str, str]:
        """What a thing of it carries; also what to look it up by."""
        known = {FEDERATION: self.name, ROLE: role, OWNER: owner}
        return {label: value for label, value in known.items() if value is not None}

    def _filters(self, role: Role | None = None) -> dict[str, Any]:
        return {"label": [f"{name}={value}" for name, value in self.labels(role).items()]}

    def containers(self, role: Role | None = None) -> list[Container]:
        """Also those that do not run."""
        return self.client.containers.list(
            all=True, filters=self._filters(role), ignore_removed=True
        )

    def nodes(self) -> dict[str, Container]:
        """Owner -> container, in the order in which owners are counted."""
        found = {node.labels[OWNER]: node for node in self.containers("node")}
        return {owner: found[owner] for owner in owner_names(MAX_OWNERS) if owner in found}

    def node(self, owner: str) -> Container:
        """Raises UsageError where there is no such owner; names those there are."""
        nodes = self.some_nodes()
        if owner not in nodes:
            raise UsageError(
                f"no owner is called {owner}",
                f"in the federation {self.name} there are {', '.join(nodes)}",
                "Name one of them.",
            )
        return nodes[owner]

    def some_nodes(self) -> dict[str, Container]:
        """As `nodes`. Raises UsageError where there is none."""
        nodes = self.nodes()
        if not nodes:
            raise UsageError(
                f"the federation {self.name} is not up",
                "it has no container",
                f"Start it: python scripts/federation.py up --name {self.name}",
            )
        return nodes

    def networks(self) -> dict[str, Network]:
        """Owner -> network."""
        found = self.client.networks.list(filters=self._filters())
        return {network.attrs["Labels"][OWNER]: network for network in found}

    def volumes(self) -> list[Volume]:
        return self.client.volumes.list(filters=self._filters())

    def check_ours(self, kind: str, name: str, labels: Mapping[str, str] | None) -> None:
        """Raises UsageError where a thing of that name is not this federation's."""
        if (labels or {}).get(FEDERATION) != self.name:
            raise UsageError(
                f"there is a {kind} called {name} that is not this federation's",
                f"it has no label {FEDERATION}={self.name}",
                "Give the federation another name with --name, or remove it yourself.",
            )

    def ensure_volume(self, *parts: str, owner: str | None = None) -> str:
        """Makes a volume where there is none; gives its name. Raises UsageError as check_ours."""
        name = self.called(*parts)
        try:
            there = self.client.volumes.get(name)
        except NotFound:
            self.client.volumes.create(name, labels=self.labels(owner=owner))
        else:
            self.check_ours("volume", name, there.attrs["Labels"])
        return name
