"""Who is not let in: no certificate, one of another federation, an expired one, and a good one of a
coordinator that the owner has not named. None of them gets a fact of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage

from scripts.local_nodes import LocalNode, local_nodes
from server.addresses import NodeAddress
from server.authority import make_authority
from server.dial import dial
from shared.errors import FedsmsError, HandshakeRefused
from shared.identity import Identity, load
from shared.tls import blind_context
from tests.attacks.scene import report
from tests.conftest import OwnerFiles
from tests.identities import Federation

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
    flags = (*owners[1].flags, "--identity", str(federation.node("bob")))
    with local_nodes({"bob": flags}) as (node,):
        yield node


def attempt(url: str, folder: Path) -> FedsmsError | None:
    """What dialling with an identity ends in; None where it is let in."""

    async def session() -> None:
        link = await dial(NodeAddress("bob", url), folder)
        await link.close()

    try:
        asyncio.run(session())
    except FedsmsError as error:
        return error
    return None


def disguised(federation: Federation, certificate_from: Path, name: str) -> Path:
    """An identity folder with another's key and certificate, and this federation's CA."""
    folder = federation.folder / name
    folder.mkdir()
    for file in ("key.pem", "certificate.pem"):
        (folder / file).write_bytes((certificate_from / file).read_bytes())
    own: Identity = load(federation.coordinator(), "coordinator")
    (folder / "ca.pem").write_bytes((own.folder / "ca.pem").read_bytes())
    return folder


def test_only_the_named_coordinator_is_let_in(
    federation: Federation, foreign: Federation, guarded_bob: LocalNode
) -> None:
    unnamed = federation.coordinator("mallory")
    refused = attempt(guarded_bob.url, unnamed)
    assert isinstance(refused, HandshakeRefused)
    assert "does not work with" in str(refused)
    assert "140" not in str(refused)  # no count of rows
    report("a good certificate, not on the list", "no list exists", "refused, told no fact")

    assert isinstance(attempt(guarded_bob.url, foreign.coordinator()), FedsmsError)
    report("a certificate of another CA", "none is asked for", "refused in TLS")
    assert attempt(guarded_bob.url, federation.coordinator()) is None


def test_without_a_certificate_nothing_is_said(guarded_bob: LocalNode) -> None:
    async def session() -> None:
        async with connect(guarded_bob.url, ssl=blind_context(), proxy=None) as connection:
            await connection.recv()

    with pytest.raises(REFUSED):
        asyncio.run(session())


def test_an_expired_certificate_is_refused_by_the_node_too(
    federation: Federation, guarded_bob: LocalNode
) -> None:
    folder = federation.expire(federation.coordinator("late"))
    context = blind_context()
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")

    async def session() -> None:
        async with connect(guarded_bob.url, ssl=context, proxy=None) as connection:
            await connection.recv()

    with pytest.raises(REFUSED):
        asyncio.run(session())
    assert attempt(guarded_bob.url, federation.coordinator()) is None
