"""Node addresses as users write them: `bob=ws://host:8777`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from shared.errors import UsageError
from shared.identity.names import check_node_id
from shared.wire.transport import is_loopback


@dataclass(frozen=True)
class NodeAddress:
    """A node that the coordinator dials: its id, and the URL where it listens."""

    id: str
    url: str

    def __str__(self) -> str:
        return f"{self.id} at {self.url}"

    @property
    def is_secure(self) -> bool:
        """True where TLS is spoken there."""
        return urlsplit(self.url).scheme == "wss"

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def with_scheme(self, scheme: str) -> str:
        """The URL with "ws" or "wss" instead of its own scheme."""
        return urlsplit(self.url)._replace(scheme=scheme).geturl()


def parse_address(node_id: str, url: str) -> NodeAddress:
    """Raises UsageError for an id or a URL that cannot be one."""
    check_node_id(node_id)
    if "@" in url:
        raise UsageError(
            f"the address of node {node_id} holds a name or a password",
            "nodes know coordinators by certificates, and an address ends up in logs",
            "Leave out what stands before the @.",
        )
    try:
        parse_uri(url)
        parts = urlsplit(url)
        valid = parts.hostname and parts.port is not None
    except (ValueError, InvalidURI):
        valid = False
    if not valid:
        raise UsageError(
            f"{url!r} is not the address of node {node_id}",
            next_step="An address looks like wss://host:8777, and without TLS ws://host:8777.",
        )
    return NodeAddress(node_id, url)


def parse_node(text: str) -> NodeAddress:
    """`bob=ws://host:8777` as an address; without a scheme it is wss://.

    Raises:
        UsageError: it is none.
    """
    node_id, equals, url = text.partition("=")
    if not equals:
        raise UsageError(
            f"{text!r} does not say which node is where",
            next_step="Write --node ID=URL, for example --node bob=ws://127.0.0.1:8777.",
        )
    bare = "://" not in url and url.rpartition(":")[2].isdecimal()
    return parse_address(node_id, f"wss://{url}" if bare else url)


def check_distinct(addresses: Iterable[NodeAddress]) -> list[NodeAddress]:
    """The addresses, sorted by id. Raises UsageError for an id or a URL that is given twice."""
    ids: dict[str, NodeAddress] = {}
    urls: dict[str, NodeAddress] = {}
    for address in addresses:
        if address.id in ids:
            raise UsageError(
                f"node id {address.id} is given twice",
                f"at {ids[address.id].url} and at {address.url}",
                "Give every node an id of its own.",
            )
        if address.url in urls:
            raise UsageError(
                f"{urls[address.url].id} and {address.id} have the same address {address.url}",
                next_step="Each node listens at an address of its own.",
            )
        ids[address.id] = urls[address.url] = address
    return [ids[node_id] for node_id in sorted(ids)]


def check_protected(addresses: Iterable[NodeAddress], insecure: bool) -> list[str]:
    """Addresses beyond this machine want TLS.

    Args:
        insecure: the user said that those without TLS may be dialled.

    Returns:
        A warning for each that is dialled without TLS.

    Raises:
        UsageError: one wants TLS, and the user said nothing.
    """
    open_ones = [
        address
        for address in addresses
        if not address.is_secure and not is_loopback(address.endpoint[0])
    ]
    if open_ones and not insecure:
        raise UsageError(
            f"{open_ones[0]} would be dialled without TLS",
            "whoever is on the line could read the models, and be the node",
            f"Write {open_ones[0].with_scheme('wss')} once the node has its identity "
            "(python -m worker_node init); --insecure dials it as it is.",
        )
    return [
        f"{address} is dialled without TLS: whoever is on the line can read the models, "
        "and be the node"
        for address in open_ones
    ]
