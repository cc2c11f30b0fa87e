"""Who is not let in: no certificate, one of another federation, an expired one, and a good one of a
coordinator that the owner has not named. None of them gets a fact of the node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from scripts.local.nodes import LocalNode, local_nodes
from server.authority.folder import make_authority
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from shared.errors import FedsmsError, HandshakeRefused
from shared.identity.certificates import fingerprint
from shared.identity.folder import load, read_key
from shared.wire.frames import Kind, unpack_error, unpack_map
from shared.wire.handshake import Greeting
from tests.attacks.scene import report
from tests.conftest import OwnerFiles
from tests.helpers.identities import Federation, unchecked_client
from tests.helpers.peers import Peer
from worker_node.audit import AUDIT_LOG
from worker_node.audit.reading import verify

REFUSED = (OSError, EOFError, InvalidMessage)
"""How a connection ends whose other side refuses in TLS: never with an answer."""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    folder = tmp_path_factory.mktemp("federation")
    made = Federation(folder, make_authority(folder / "authority")[0])
    made.coordinator()
    return made


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    folder = tmp_path_factory.mktemp("foreign")
    return Federation(folder, make_authority(folder / "authority")[0])


@pytest.fixture(scope="module")
def guarded_bob(federation: Federation, owners: list[OwnerFiles]) -> Iterator[LocalNode]:
    log = ("--audit-log", str(federation.folder / AUDIT_LOG))
    flags = (*owners[1].flags, "--identity", str(federation.node("bob")), *log)
    with local_nodes({"bob": flags}) as (node,):
        yield node


def attempt(url: str, folder: Path, node: str = "bob") -> FedsmsError | None:
    """What dialling with an identity ends in; None where it is let in."""

    async def session() -> None:
        link = await dial(NodeAddress(node, url), folder)
        await link.close()

    try:
        asyncio.run(session())
    except FedsmsError as error:
        return error
    return None


@asynccontextmanager
async def shows(folder: Path | None, url: str) -> AsyncIterator[Peer]:
    """A connection of somebody who checks nothing, and shows what lies in a folder, or nothing."""
    async with connect(url, ssl=unchecked_client(folder), proxy=None) as connection:
        yield Peer(connection)


def is_refused_in_tls(folder: Path | None, url: str) -> None:
    async def session() -> None:
        async with shows(folder, url) as peer:
            await peer.receive()

    with pytest.raises(REFUSED):
        asyncio.run(session())


async def refused_by_name(folder: Path, url: str) -> FedsmsError:
    """What somebody is told who has a good certificate, and calls itself a coordinator."""
    async with shows(folder, url) as peer:
        answer = await peer.greet(Greeting(role="coordinator", id="coordinator"))
        assert answer.kind is Kind.REFUSED
        told = unpack_map(answer.payload)
        assert set(told) == {"error"}
        return unpack_error(told["error"])


def test_only_the_named_coordinator_is_let_in(
    federation: Federation, foreign: Federation, guarded_bob: LocalNode
) -> None:
    unnamed = federation.coordinator("mallory")
    refused = attempt(guarded_bob.url, unnamed)
    assert isinstance(refused, HandshakeRefused)
    assert "does not work with" in str(refused)
    assert "140" not in str(refused)  # no count of rows
    report("a good certificate, not on the list", "no list exists", "refused, told no fact")

    is_refused_in_tls(foreign.coordinator(), guarded_bob.url)
    report("a certificate of another CA", "none is asked for", "refused in TLS")
    error = asyncio.run(refused_by_name(federation.node("anne"), guarded_bob.url))
    assert "node anne is none" in error.fact
    assert "140" not in str(error)
    report("another owner's certificate", "none is asked for", "refused, told no fact")
    assert attempt(guarded_bob.url, federation.coordinator()) is None


def test_the_owners_policy_names_coordinators_too_and_the_log_names_who_was_refused(
    federation: Federation, owners: list[OwnerFiles], tmp_path: Path
) -> None:
    policy, log = tmp_path / "policy.toml", tmp_path / "audit.jsonl"
    policy.write_text('coordinators = ["hospital"]\n', encoding="utf-8")
    identity = ("--identity", str(federation.node("carol")))
    guard = ("--policy", str(policy), "--audit-log", str(log))
    hospital, other = federation.coordinator("hospital"), federation.coordinator()
    with local_nodes({"carol": (*owners[1].flags, *identity, *guard)}) as (node,):
        assert isinstance(attempt(node.url, other, "carol"), HandshakeRefused)
        assert attempt(node.url, hospital, "carol") is None
    found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    told = [line for line in found if line["what"] == "handshake"]
    assert [(line["who"], line["decision"]) for line in told] == [
        ("coordinator", "refused"),
        ("hospital", "allowed"),
    ]
    for line, folder in zip(told, (other, hospital), strict=True):
        assert line["certificate"] == fingerprint(load(folder, "coordinator").certificate)
    key = read_key(federation.node("carol")).public_key()
    assert verify(log, key).signed
    assert verify(log, key).fault == ""


def test_no_certificate_and_an_expired_one_are_refused_by_the_node_itself(
    federation: Federation, guarded_bob: LocalNode
) -> None:
    log = federation.folder / AUDIT_LOG
    lines = log.read_bytes()
    is_refused_in_tls(None, guarded_bob.url)
    is_refused_in_tls(federation.expire(federation.coordinator("late")), guarded_bob.url)
    assert log.read_bytes() == lines  # they asked for nothing
    report("no certificate, or an expired one", "none is asked for", "refused in TLS")
    assert attempt(guarded_bob.url, federation.coordinator()) is None
