"""Node addresses as users write them: `bob=ws://host:8777`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import UsageError
from shared.identity.names import check_node_id
from shared.wire.transport import is_loopback
from shared.wire.urls import check_url, endpoint_of, is_secure, with_scheme


@dataclass(frozen=True)
class NodeAddress:
    """A node, and where it is met.

    url: where it listens, or where the coordinator does.
    dials_in: it dials the coordinator, which awaits it.
    """

    id: str
    url: str
    dials_in: bool = False

    def __str__(self) -> str:
        return f"{self.id} {'dialling in at' if self.dials_in else 'at'} {self.url}"

    @property
    def shown(self) -> str:
        """The address, for tables."""
        return "dials in" if self.dials_in else self.url

    @property
    def is_secure(self) -> bool:
        """True where TLS is spoken there."""
        return is_secure(self.url)

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port."""
        return endpoint_of(self.url)

    def with_scheme(self, scheme: str) -> str:
        """The URL with "ws" or "wss" instead of its own scheme."""
        return with_scheme(self.url, scheme)


def parse_address(node_id: str, url: str, listen: str | None = None) -> NodeAddress:
    """A node's address; "" is that of a node that dials in.

    Args:
        listen: URL at which the coordinator listens; None where it does not.

    Raises:
        UsageError: the id or the URL cannot be one, or nobody listens for a node that dials in.
    """
    check_node_id(node_id)
    if url:
        return NodeAddress(node_id, check_url(url, f"node {node_id}"))
    if listen is None:
        raise UsageError(
            f"{node_id!r} does not say which node is where",
            "only where the coordinator listens do nodes dial in",
            f"Write --node ID=URL, for example --node {node_id}=ws://127.0.0.1:8777, or have the "
            "coordinator listen: --listen 0.0.0.0:8770.",
        )
    return NodeAddress(node_id, listen, dials_in=True)


def parse_node(text: str, listen: str | None = None) -> NodeAddress:
    """`bob=ws://host:8777` as an address, without a scheme wss://; `bob` as a node that dials in.

    Raises:
        UsageError: as parse_address.
    """
    node_id, equals, url = text.partition("=")
    if not equals and set("/:") & set(text):
        raise UsageError(
            f"{text!r} does not say which node is where",
            "it is an address without a node's id",
            f"Write --node ID=URL, for example --node bob={text}.",
        )
    return parse_address(node_id, url, listen)


def parse_listen(text: str) -> str:
    """Where the coordinator listens, as a URL: `0.0.0.0:8770` is wss://0.0.0.0:8770.

    Raises:
        UsageError: it is no host and port.
    """
    url = check_url(text, "a coordinator that listens")
    host, port = endpoint_of(url)
    shown = f"[{host}]" if ":" in host else host
    return f"{'wss' if is_secure(url) else 'ws'}://{shown}:{port}"


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
        if address.dials_in:
            ids[address.id] = address
            continue
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
        A warning for each line without TLS.

    Raises:
        UsageError: one wants TLS, and the user said nothing.
    """
    open_ones = [
        address
        for address in addresses
        if not address.is_secure and not is_loopback(address.endpoint[0])
    ]
    if open_ones and not insecure and open_ones[0].dials_in:
        raise UsageError(
            f"nodes would dial in at {open_ones[0].url} without TLS",
            "whoever is on the line could read the models, and be a node",
            f"Listen at {open_ones[0].with_scheme('wss')}; --insecure listens without TLS.",
        )
    if open_ones and not insecure:
        raise UsageError(
            f"{open_ones[0]} would be dialled without TLS",
            "whoever is on the line could read the models, and be the node",
            f"Write {open_ones[0].with_scheme('wss')} once the node has its identity "
            "(python -m worker_node init); --insecure dials it as it is.",
        )
    return [
        f"{address} has no TLS: whoever is on the line can read the models, and be the node"
        for address in open_ones
    ]
