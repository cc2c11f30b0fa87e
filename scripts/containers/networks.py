"""A network for each owner, with the owner's node and coordinators on it and no way out.

The engine gives each network a range of addresses from pools of its own, which are empty after
some thirty networks. A range given by the user is cut into subnets of eight addresses: network,
gateway, node, broadcast, and four for coordinators.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from scripts.containers.engine import explanation
from scripts.containers.labels import Federation
from shared.errors import FedsmsError, UsageError

PREFIX = 29
# Without it the bridge of an internal network has an address of the host's, and behind that is each
# service that the host has on any of its addresses.
NO_ADDRESS_OF_THE_HOST = {"com.docker.network.bridge.inhibit_ipv4": "true"}


def parse_range(text: str) -> IPv4Network:
    """Raises UsageError where it is no range of IPv4 addresses, or smaller than one subnet."""
    try:
        addresses = IPv4Network(text)
    except ValueError as error:
        raise UsageError(
            f"--subnets {text} is no range", str(error), "Write it as 10.213.0.0/16."
        ) from error
    if addresses.prefixlen > PREFIX:
        raise UsageError(f"--subnets {text} is too small", f"an owner's network is a /{PREFIX}")
    return addresses


def ensure_network(federation: Federation, owner: str, addresses: IPv4Network | None) -> Network:
    """The owner's network, made where there is none.

    Args:
        addresses: what to cut its subnet from; None leaves it to the engine.

    Raises:
        UsageError: the name is taken, or there is no free subnet left.
    """
    name = federation.called(owner)
    for network in federation.client.networks.list(names=[name]):
        if network.name == name:  # the engine also finds names that only begin so
            federation.check_ours("network", name, network.attrs["Labels"])
            return network
    ipam = None
    if addresses is not None:
        subnet = str(_free_subnet(federation, addresses))
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
    try:
        return federation.client.networks.create(
            name,
            driver="bridge",
            internal=True,
            options=NO_ADDRESS_OF_THE_HOST,
            ipam=ipam,
            labels=federation.labels(owner=owner),
        )
    except APIError as error:
        raise _no_network(name, error) from error


def _no_network(name: str, error: APIError) -> FedsmsError:
    said = explanation(error)
    if "address pool" not in said:
        return FedsmsError(f"Docker cannot make the network {name}", said)
    return UsageError(
        f"Docker has no addresses left for the network {name}",
        said,
        "Run `up` again with a private range that nothing else here uses: --subnets 10.213.0.0/16",
    )


def _free_subnet(federation: Federation, addresses: IPv4Network) -> IPv4Network:
    used = [
        IPv4Network(pool["Subnet"], strict=False)
        for network in federation.client.networks.list()
        for pool in network.attrs["IPAM"]["Config"] or []
        if "." in pool.get("Subnet", "")
    ]
    for subnet in addresses.subnets(new_prefix=PREFIX):
        if not any(subnet.overlaps(other) for other in used):
            return subnet
    raise UsageError(
        f"--subnets {addresses} has no free /{PREFIX} left", next_step="Give a larger range."
    )


def is_connected(network: Network, container: Container) -> bool:
    """Whether a container is on a network; also said of one that does not run."""
    return network.name in container.attrs["NetworkSettings"]["Networks"]


def join_network(network: Network, container: Container, owner: str) -> None:
    """Puts an owner's node on its network, where it is found under the owner's name."""
    if not is_connected(network, container):
        network.connect(container, aliases=[owner])
