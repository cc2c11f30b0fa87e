"""Taking a federation down: whatever carries its label goes, and nothing else."""

from __future__ import annotations

import time
from contextlib import suppress

from docker.errors import APIError, NotFound
from docker.models.containers import Container

from scripts.containers.engine import CONFLICT, engine_errors
from scripts.containers.labels import Federation
from shared.errors import FedsmsError

STOP_SECONDS = 15
"""For a coordinator to put its run away, before it is killed."""
GONE_SECONDS = 30.0
POLL_SECONDS = 0.1


def take_down(federation: Federation, keep_volumes: bool) -> dict[str, int]:
    """Removes containers, networks and volumes, and sees that they are gone.

    Returns:
        Kind -> how many were removed.

    Raises:
        UsageError, FedsmsError: something is left, as a network that somebody else's container is
            on; with its name.
    """
    removed = {"containers": 0, "networks": 0, "volumes": 0}
    for role in ("coordinator", "setup", "node"):
        for container in federation.containers(role):
            _remove(container)
            removed["containers"] += 1
    _wait_until_gone(federation)
    for network in federation.networks().values():
        with engine_errors(f"remove the network {network.name}"):
            network.remove()
        removed["networks"] += 1
    for volume in [] if keep_volumes else federation.volumes():
        with engine_errors(f"remove the volume {volume.name}"):
            volume.remove()
        removed["volumes"] += 1
    return removed


def _remove(container: Container) -> None:
    with engine_errors(f"remove the container {container.name}"), suppress(NotFound):
        try:
            if container.labels["fedsms.role"] == "coordinator":
                container.stop(timeout=STOP_SECONDS)
            container.remove(force=True, v=True)
        except APIError as error:
            # whoever started the coordinator is removing it already
            if error.status_code != CONFLICT:
                raise


def _wait_until_gone(federation: Federation) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while left := federation.containers():
        if time.monotonic() > deadline:
            names = ", ".join(str(container.name) for container in left)
            raise FedsmsError(f"Docker does not remove {names}", next_step="Try `down` again.")
        time.sleep(POLL_SECONDS)
