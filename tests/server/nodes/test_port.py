"""The coordinator's port: whose line is whose, what replaces what, and what others are told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.port import Port, open_port
from shared.errors import CertificateRefused, IdentityError, NodeUnreachable, UsageError
from shared.identity.certificates import fingerprint
from shared.identity.folder import load
from shared.identity.tls import client_context
from shared.wire.timeouts import Timeouts
from tests.helpers.dialling_nodes import PATIENT, free_port, knocking_node
from tests.helpers.federating import until
from tests.helpers.identities import Federation, make_federation

pytestmark = pytest.mark.timeout(120)
SECURE, PLAIN = "wss://127.0.0.1:0", "ws://127.0.0.1:0"


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    made = make_federation(tmp_path / "ours")
    made.coordinator()
    return made


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def at(port: Port, node: str = "bob") -> NodeAddress:
    return NodeAddress(node, port.url, dials_in=True)


def test_a_node_that_dials_is_the_one_that_its_certificate_names(ours: Federation) -> None:
    told: list[tuple[str, str]] = []

    async def scene() -> None:
        awaited = {"anne", "bob"}
        own = ours.coordinator()
        opened = open_port(SECURE, awaited, own, PATIENT, lambda *one: told.append(one))
        async with opened as port, knocking_node(port.url, ours.node("bob")):
            link = await port.link(at(port))
            assert link.greeting.id == "bob"
            assert link.certificate == fingerprint(load(ours.node("bob"), "node").certificate)
            assert await link.round_trip() > 0
            assert "bob" in link.name
            await link.close()

    run(scene())
    assert told[0] == ("bob", "127.0.0.1")


def test_no_coordinator_need_be_there_when_a_node_begins_to_dial(ours: Federation) -> None:
    async def scene() -> None:
        url = f"wss://127.0.0.1:{free_port()}"
        async with knocking_node(url, ours.node("bob")) as line:
            await until(lambda: "refused" in line.state, "a knock in vain")
            for _ in range(2):  # and again once the first has left
                async with open_port(url, {"bob"}, ours.coordinator(), PATIENT) as port:
                    link = await port.link(at(port))
                    await link.close()

    run(scene())


def test_a_newer_line_of_a_node_replaces_the_older_one(ours: Federation) -> None:
    async def scene() -> None:
        bob = ours.node("bob")
        opened = open_port(SECURE, {"bob"}, ours.coordinator(), PATIENT)
        async with opened as port, knocking_node(port.url, bob) as first:
            older = await port.link(at(port))
            async with knocking_node(port.url, bob):
                newer = await port.link(at(port))
                assert newer is not older
                assert isinstance(await older.loss, NodeUnreachable)
                assert await newer.round_trip() > 0
                await until(lambda: "this node's key" in first.state, "the older one's word")

    run(scene())


def test_without_certificates_who_has_the_place_keeps_it() -> None:
    async def scene() -> None:
        opened = open_port(PLAIN, {"bob"}, timeouts=PATIENT)
        async with opened as port, knocking_node(port.url):
            first = await port.link(at(port))
            async with knocking_node(port.url) as second:
                await until(lambda: "here already" in second.state, "its refusal")
            assert await first.round_trip() > 0

    run(scene())


@pytest.mark.parametrize("secure", [True, False])
def test_a_node_that_is_not_awaited_is_told_so_and_goes_on_knocking(
    ours: Federation, secure: bool
) -> None:
    async def scene() -> None:
        url, own = (SECURE, ours.coordinator()) if secure else (PLAIN, Path("nowhere"))
        identity = ours.node("bob") if secure else None
        opened = open_port(url, {"anne"}, own, PATIENT)
        async with opened as port, knocking_node(port.url, identity) as line:
            await until(lambda: "not awaited here now" in line.state, "its refusal")
            assert line.state.startswith("knocking")

    run(scene())


def test_who_waits_is_told_that_the_node_does_not_work_with_this_coordinator(
    ours: Federation,
) -> None:
    async def scene() -> None:
        bob, other = ours.node("bob"), ours.coordinator("other")
        opened = open_port(SECURE, {"bob"}, other, PATIENT)
        async with opened as port, knocking_node(port.url, bob):
            with pytest.raises(CertificateRefused, match="does not work with"):
                await port.link(at(port))

    run(scene())


def test_who_waits_in_vain_is_told_for_how_long_and_where(ours: Federation) -> None:
    async def scene() -> None:
        timeouts = Timeouts(dial_in_wait=0.05)
        async with open_port(SECURE, {"bob"}, ours.coordinator(), timeouts) as port:
            with pytest.raises(NodeUnreachable, match="bob has not dialled in") as caught:
                await port.link(at(port))
        assert port.url in caught.value.cause
        assert "--dial" in caught.value.next_step

    run(scene())


def test_certificates_of_an_older_version_neither_listen_nor_dial_and_the_error_says_how_to_renew(
    ours: Federation,
) -> None:
    async def scene() -> None:
        async with open_port(SECURE, {"bob"}, ours.make_older(ours.coordinator()), PATIENT):
            raise AssertionError("it listens")

    with pytest.raises(IdentityError, match="older version") as caught:
        run(scene())
    assert "python -m server renew" in caught.value.next_step
    with pytest.raises(IdentityError, match="older version") as caught:
        client_context(load(ours.make_older(ours.node("bob")), "node"))
    assert "python -m worker_node init --id bob" in caught.value.next_step


def test_a_node_that_dials_in_is_never_dialled_by_mistake() -> None:
    """Its address is the coordinator's own: whoever dialled it would reach itself."""
    with pytest.raises(UsageError, match="bob dials in"):
        asyncio.run(dial(NodeAddress("bob", "ws://127.0.0.1:1", dials_in=True)))
