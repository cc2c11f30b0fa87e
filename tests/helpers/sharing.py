"""Three nodes that compute on shares, for this machine's coordinator."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers import connect_shared, disconnect
from server.pointers.client import PointerClient
from shared.identity.folder import DEFAULT
from tests.conftest import OwnerFiles, write_owner
from tests.helpers.identities import Federation
from worker_node.membership.peers import add_peer, fingerprint_from

NAMES = ("bob", "anne", "carol")


class Parties(NamedTuple):
    """Two holders of shares, and who makes triples."""

    bob: PointerClient
    anne: PointerClient
    carol: PointerClient


def own_name() -> str:
    """What a coordinator without a certificate calls itself."""
    return platform.node() or "coordinator"


def write_policy(folder: Path, owner: str, coordinators: tuple[str, ...], more: str = "") -> Path:
    """Args: more: other lines of its table [shared]."""
    path = folder / f"{owner}.policy.toml"
    named = f"coordinators = {json.dumps(coordinators)}"
    path.write_text(f'modes = ["shared"]\n[shared]\n{named}\n{more}\n')
    return path


def audit_log(folder: Path, owner: str) -> Path:
    """Where a node of `sharing_nodes` keeps its log."""
    return folder / f"{owner}.audit.jsonl"


@contextmanager
def sharing_nodes(
    folder: Path,
    *coordinators: str,
    federation: Federation | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[list[LocalNode]]:
    """Nodes of NAMES whose owners allow sharing to these coordinators.

    Args:
        federation: whose certificates they have, and who let in its coordinators hospital and
            clinic; None leaves TLS out.
        more: lines of the table [shared] of some of their policies.
    """
    owners: list[OwnerFiles] = [write_owner(folder, one, 40, 10, 1) for one in NAMES]
    flags = {
        owner.id: flags_of(
            owner,
            folder,
            write_policy(folder, owner.id, coordinators, more.get(owner.id, "")),
            federation,
        )
        for owner in owners
    }
    with local_nodes(flags) as running:
        yield running


def flags_of(
    owner: OwnerFiles, folder: Path, policy: Path, federation: Federation | None
) -> tuple[str, ...]:
    """Of `serve`, for a node of `sharing_nodes`."""
    log = ("--audit-log", str(audit_log(folder, owner.id)))
    flags = (*owner.flags, "--policy", str(policy), *log)
    if federation is None:
        return flags
    let_in = ("--coordinator", "hospital", "--coordinator", "clinic")
    return (*flags, "--identity", str(federation.node(owner.id)), *let_in)


@contextmanager
def parties(nodes: list[LocalNode], identity: Path = DEFAULT) -> Iterator[Parties]:
    """A session with each, for the time of a test.

    Args:
        identity: the coordinator's identity folder, for nodes that are dialled with TLS.
    """
    opened: list[PointerClient] = []
    try:
        opened.extend(connect_shared(node.flag, identity=identity) for node in nodes)
        yield Parties(*opened)
    finally:
        for one in opened:
            disconnect(one)


@contextmanager
def sealed_nodes(
    folder: Path, federation: Federation, tells: bool = False, others: str = ""
) -> Iterator[list[LocalNode]]:
    """Nodes with certificates, whose owners lend them to the coordinator hospital.

    Bob's messages may be shared with anne and carol, whose keys he has compared.

    Args:
        tells: bob's node tells the coordinator their scores. others: tables of bob's policy.
    """
    for other in ("anne", "carol"):
        source = str(federation.node(other) / "certificate.pem")
        add_peer(federation.node("bob"), other, fingerprint_from(source, other))
    more = 'messages_with = ["anne", "carol"]\n' + "tells_scores = true\n" * tells + others
    with sharing_nodes(folder, "hospital", federation=federation, more={"bob": more}) as running:
        yield running
