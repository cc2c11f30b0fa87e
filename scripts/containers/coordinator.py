"""The coordinator's commands, each in a container of its own that ends with the command.

It is on every owner's network and on no other, has the coordinator's identity and the folder of
runs, and no message. It runs as the calling user, who then owns what it writes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import Mount

from scripts.containers.attached import run_attached
from scripts.containers.confinement import CONFINED
from scripts.containers.engine import engine_errors
from scripts.containers.images import check_image
from scripts.containers.labels import Federation
from scripts.containers.setup import coordinator_user
from shared.errors import UsageError
from shared.files import storage_error

PORT = 8777
IDENTITY = "/identity"
HOME = Path("/caller")
"""Where the caller's current folder would be: paths in the output are then true outside too."""


@dataclass(frozen=True)
class CallersPath:
    """A path that the caller gave: as it is said, here and in the container alike."""

    given: str

    @property
    def argument(self) -> str:
        """Relative where it lies below the caller's folder, else from the root."""
        path = Path(self.given)
        return str(path.absolute().resolve() if ".." in path.parts else path)

    def mount(self, read_only: bool) -> Mount:
        here = str(Path(self.given).resolve())
        return Mount(str(HOME / self.argument), here, type="bind", read_only=read_only)


def runs_folder(given: str) -> CallersPath:
    """The folder of runs, made where there is none. Raises StorageError."""
    try:
        Path(given).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error("use the folder", Path(given), error) from error
    return CallersPath(given)


def run_coordinator(
    federation: Federation, arguments: Sequence[str], mounts: Sequence[Mount], *, dials: bool
) -> int:
    """Runs `python -m server ARGUMENTS`; its output and signals are ours.

    Args:
        dials: whether it is on the owners' networks; else it has none.

    Returns:
        Its exit code.

    Raises:
        UsageError: the federation is not up. FedsmsError: Docker cannot run it.
    """
    owners = list(federation.some_nodes()) if dials else []
    with engine_errors("run the coordinator"):
        container = _create(federation, arguments, mounts, owners)
        try:
            return run_attached(container, "the coordinator")
        finally:
            with suppress(NotFound):  # `down` in another terminal was faster
                container.remove(force=True, v=True)


def _create(
    federation: Federation, arguments: Sequence[str], mounts: Sequence[Mount], owners: list[str]
) -> Container:
    networks = federation.networks()
    for owner in owners:
        if owner not in networks:
            raise UsageError(f"the network of {owner} is gone", next_step="`up` makes it again.")
    container = federation.client.containers.create(
        check_image(federation, "coordinator"),
        list(arguments),
        entrypoint=["python", "-m", "server"],  # it is the right user from the start
        name=federation.called("coordinator", secrets.token_hex(3)),
        labels=federation.labels("coordinator"),
        user=coordinator_user(federation),
        working_dir=str(HOME),
        mounts=list(mounts),
        **(_among(federation, owners, networks) if owners else {"network_mode": "none"}),
        **CONFINED,
    )
    for owner in owners[1:]:
        networks[owner].connect(container)
    return container


def _among(
    federation: Federation, owners: Sequence[str], networks: Mapping[str, Network]
) -> dict[str, Any]:
    """What a coordinator's container has that dials nodes: addresses, identity, a first network."""
    identity = federation.ensure_volume("coordinator", "identity")
    return {
        "network": networks[owners[0]].name,
        # The engine knows the names of all nodes that run. For others it asks name servers, which
        # no internal network leads to; by default that takes longer than dialling may, and whoever
        # ends a coordinator that dials waits for it.
        "dns_opt": ["timeout:1", "attempts:3"],
        "environment": {
            "FEDSMS_NODES": " ".join(f"{owner}=wss://{owner}:{PORT}" for owner in owners),
            "FEDSMS_IDENTITY": IDENTITY,
        },
        "volumes": {identity: {"bind": IDENTITY, "mode": "ro"}},
    }
