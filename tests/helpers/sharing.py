"""Three nodes that compute on shares, for this machine's coordinator."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers import connect_shared, disconnect
from server.pointers.client import PointerClient
from tests.conftest import OwnerFiles, write_owner

NAMES = ("bob", "anne", "carol")


class Parties(NamedTuple):
    """Two holders of shares, and who makes triples."""

    bob: PointerClient
    anne: PointerClient
    carol: PointerClient


def own_name() -> str:
    """What a coordinator without a certificate calls itself."""
    return platform.node() or "coordinator"


def write_policy(folder: Path, *coordinators: str) -> Path:
    path = folder / "shared.toml"
    path.write_text(f'modes = ["shared"]\n[shared]\ncoordinators = {json.dumps(coordinators)}\n')
    return path


@contextmanager
def sharing_nodes(folder: Path, *coordinators: str) -> Iterator[list[LocalNode]]:
    """Nodes of NAMES whose owners allow sharing to these coordinators."""
    policy = write_policy(folder, *coordinators)
    owners: list[OwnerFiles] = [write_owner(folder, one, 40, 10, 1) for one in NAMES]
    flags = {owner.id: (*owner.flags, "--policy", str(policy)) for owner in owners}
    with local_nodes(flags) as running:
        yield running


@contextmanager
def parties(nodes: list[LocalNode]) -> Iterator[Parties]:
    """A session with each, for the time of a test."""
    opened: list[PointerClient] = []
    try:
        opened.extend(connect_shared(node.flag) for node in nodes)
        yield Parties(*opened)
    finally:
        for one in opened:
            disconnect(one)
