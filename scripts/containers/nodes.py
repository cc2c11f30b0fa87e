"""The owners' nodes as containers: made, started, waited for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import EndpointConfig, Mount

from scripts.containers.confinement import CONFINED
from scripts.containers.labels import OWNER, POLICY, Federation
from scripts.containers.networks import join_network
from scripts.containers.states import health
from shared.errors import NodeFailed

READY_SECONDS = 300.0
"""How long it may take until one of those that start is healthy, and again until the next is."""
POLL_SECONDS = 0.5
HEALTH = ("python", "-m", "worker_node", "health")
"""Ends with 0 in the container of a node that is well."""
CHECK_SECONDS = (4, 30)
"""Between two health checks of a node: at least, and at most, by how many nodes there are."""
STOP_SECONDS = 15
"""For a node to abandon its training, before it is killed."""
INSIDE = "/policy.toml"
"""Where an owner's policy lies in the container."""
SECOND = 1_000_000_000


def ensure_node(
    federation: Federation,
    owner: str,
    network: Network,
    labels: Mapping[str, str],
    owners: int,
    policy: Path | None = None,
) -> Container:
    """The owner's node, running and on its network; made where there is none.

    A container of an older image, or with another policy, makes way for a new one: all that it
    holds is in volumes.

    Args:
        policy: the owner's policy.toml; None has the defaults.
    """
    digest = hashlib.sha256(policy.read_bytes()).hexdigest() if policy is not None else ""
    container = _existing(federation, owner, digest)
    if container is None:
        labels = {**labels, POLICY: digest}
        container = _create(federation, owner, network, labels, owners, policy)
    resume(container)
    container.reload()
    join_network(network, container, owner)
    return container


def _existing(federation: Federation, owner: str, policy: str) -> Container | None:
    name = federation.called(owner)
    try:
        container = federation.client.containers.get(name)
    except NotFound:
        return None
    federation.check_ours("container", name, container.labels)
    newest = federation.client.images.get(federation.image("node"))
    if container.attrs["Image"] == newest.id and container.labels.get(POLICY) == policy:
        return container
    container.stop(timeout=STOP_SECONDS)
    container.remove(force=True)
    return None


def _create(
    federation: Federation,
    owner: str,
    network: Network,
    labels: Mapping[str, str],
    owners: int,
    policy: Path | None,
) -> Container:
    assert network.name is not None
    version = federation.client.api.api_version
    return federation.client.containers.create(
        federation.image("node"),
        name=federation.called(owner),
        environment={"FEDSMS_ID": owner, **({"FEDSMS_POLICY": INSIDE} if policy else {})},
        labels={**federation.labels("node", owner), **labels},
        network=network.name,
        networking_config={network.name: EndpointConfig(version, aliases=[owner])},
        mounts=_mounts(federation, owner, policy),
        healthcheck={
            "test": ["CMD", *HEALTH],
            # a check costs a third of a second of a processor: all of them, a sixth of one
            "interval": min(max(CHECK_SECONDS[0], 2 * owners), CHECK_SECONDS[1]) * SECOND,
            "timeout": 5 * SECOND,
            "retries": 5,
            "start_period": 120 * SECOND,
        },
        **CONFINED,
    )


def _mounts(federation: Federation, owner: str, policy: Path | None) -> list[Mount]:
    mounts = [
        Mount("/data", federation.called(owner, "data"), read_only=True),
        Mount("/identity", federation.called(owner, "identity"), read_only=True),
        Mount("/audit", federation.ensure_volume(owner, "audit", owner=owner)),
    ]
    if policy is not None:
        mounts.append(Mount(INSIDE, str(policy.resolve()), type="bind", read_only=True))
    return mounts


def resume(container: Container) -> None:
    """Runs a container that was stopped, killed or paused; one that runs is left alone."""
    if container.status == "paused":
        container.unpause()
    elif container.status != "running":
        container.start()


def wait_until_healthy(
    containers: Sequence[Container], say: Callable[[str], None] = lambda _: None
) -> None:
    """Polls until all are healthy.

    The engine asks a node for the first time after CHECK_SECONDS: until then one node at a time is
    asked from here, the first that is waited for.

    Raises:
        NodeFailed: one has ended, or is not healthy in time; with the end of its log.
    """
    deadline = time.monotonic() + READY_SECONDS
    waiting = list(containers)
    while waiting:
        for container in list(waiting):
            container.reload()
            if container.status != "running":
                raise _failed(container, "ended at once")
            if health(container) == "healthy" or (container is waiting[0] and _is_well(container)):
                waiting.remove(container)
                deadline = time.monotonic() + READY_SECONDS
                up = len(containers) - len(waiting)
                say(f"  {container.labels[OWNER]} is ready ({up} of {len(containers)})")
        if waiting and time.monotonic() > deadline:
            raise _failed(waiting[0], f"was not ready in {READY_SECONDS:g} s")
        if waiting:
            time.sleep(POLL_SECONDS)


def _is_well(container: Container) -> bool:
    try:
        return bool(container.exec_run(list(HEALTH)).exit_code == 0)
    except APIError:  # it has ended, or is being started
        return False


def _failed(container: Container, how: str) -> NodeFailed:
    log = container.logs(tail=5).decode("utf-8", "replace").strip()
    return NodeFailed(f"the node of {container.labels[OWNER]} {how}", log)
