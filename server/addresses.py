"""Node addresses as users write them: `bob=ws://host:8777`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from shared.errors import UsageError
from shared.handshake import NODE_ID_PATTERN, NODE_ID_RULE


@dataclass(frozen=True)
class NodeAddress:
    """A node that the coordinator dials: its id, and the URL where it listens."""

    id: str
    url: str

    def __str__(self) -> str:
        return f"{self.id} at {self.url}"


def parse_address(node_id: str, url: str) -> NodeAddress:
    """Raises UsageError for an id or a URL that cannot be one."""
    if not re.fullmatch(NODE_ID_PATTERN, node_id):
        raise UsageError(f"{node_id!r} cannot be a node id", NODE_ID_RULE)
    try:
        parse_uri(url)
        parts = urlsplit(url)
        valid = parts.hostname and parts.port is not None
    except (ValueError, InvalidURI):
        valid = False
    if not valid:
        raise UsageError(
            f"{url!r} is not the address of node {node_id}",
            next_step="An address looks like ws://host:8777.",
        )
    return NodeAddress(node_id, url)


def parse_node(text: str) -> NodeAddress:
    """`bob=ws://host:8777` as an address. Raises UsageError where it is none."""
    node_id, equals, url = text.partition("=")
    if not equals:
        raise UsageError(
            f"{text!r} does not say which node is where",
            next_step="Write --node ID=URL, for example --node bob=ws://127.0.0.1:8777.",
        )
    return parse_address(node_id, url)


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
