"""Nodes that fail, and certificates that are taken back, while a run over TLS goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import connect

from scripts.local.faulty_line import Line, line_to
from scripts.local.nodes import LocalNode, local_nodes, start_node, wait_until_ready
from server.nodes.retry import Retry, verdict
from shared.errors import CertificateRefused, HandshakeRefused, IdentityError, NodeUnreachable
from shared.model.recipe import Recipe
from shared.wire.commands import TRAIN
from shared.wire.handshake import Greeting
from shared.wire.timeouts import Timeouts
from shared.wire.transport import transport_options
from tests.conftest import OwnerFiles
from tests.helpers.federating import Watcher, training, until
from tests.helpers.identities import Federation, make_federation, unchecked_client
from tests.helpers.node_requests import command, reply, send_state
from tests.helpers.node_requests import training as training_of
from tests.helpers.peers import Peer

pytestmark = pytest.mark.timeout(240)
QUICK = Timeouts(heartbeat=1, rejoin_window=0.3)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("ours"))
    made.coordinator("second")
    made.coordinator()
    return made


def flags_of(federation: Federation, owner: OwnerFiles, node_id: str) -> tuple[str, ...]:
    return (*owner.flags, "--identity", str(federation.node(node_id)))


@pytest.fixture(scope="module")
def bob(ours: Federation, owners: list[OwnerFiles]) -> Iterator[LocalNode]:
    known = ("--coordinator", "coordinator", "--coordinator", "second")
    with local_nodes({"bob": (*flags_of(ours, owners[1], "bob"), *known)}) as (running,):
        yield running


@pytest.fixture
def carol(ours: Federation, owners: list[OwnerFiles]) -> Iterator[LocalNode]:
    with local_nodes({"carol": flags_of(ours, owners[0], "carol")}) as (running,):
        yield running


@pytest.fixture
def line(carol: LocalNode) -> Iterator[Line]:
    with line_to(carol.url) as line:
        yield line


def urls(bob: LocalNode, line: Line) -> dict[str, str]:
    return {"bob": bob.url, "carol": line.url.replace("ws://", "wss://")}


async def goes_on_without(watcher: Watcher, node: str) -> None:
    done = len(watcher.rounds)
    await until(lambda: len(watcher.rounds) > done + 2, "more rounds")
    assert watcher.took_part("bob")
    assert not watcher.took_part(node)


def test_a_killed_node_is_left_out_by_name_and_back_once_it_proves_itself_again(
    bob: LocalNode,
    carol: LocalNode,
    line: Line,
    ours: Federation,
    owners: list[OwnerFiles],
    recipe: Recipe,
) -> None:
    async def session() -> None:
        identity = ours.coordinator()
        async with training(urls(bob, line), recipe, QUICK, identity=identity) as watcher:
            await until(lambda: watcher.took_part("carol"), "carol's first round")
            carol.process.kill()
            await until(lambda: bool(watcher.reasons("carol")), "a round without carol")
            await goes_on_without(watcher, "carol")
            assert all("node carol" in why for why in watcher.reasons("carol"))
            again = start_node("carol", flags_of(ours, owners[0], "carol"))
            try:
                await asyncio.to_thread(wait_until_ready, again)
                line.target(again.url)
                await until(lambda: watcher.took_part("carol"), "carol to be back")
            finally:
                await asyncio.to_thread(again.stop)

    asyncio.run(session())


def test_a_node_revoked_amid_a_run_is_left_out_at_its_next_connection_and_not_dialled_again(
    bob: LocalNode, line: Line, ours: Federation, recipe: Recipe
) -> None:
    async def session() -> None:
        identity = ours.coordinator()
        async with training(urls(bob, line), recipe, QUICK, identity=identity) as watcher:
            await until(lambda: watcher.took_part("carol"), "carol's first round")
            ours.authority.revoke("carol")
            (identity / "crl.pem").write_bytes(ours.authority.crl())
            done = len(watcher.rounds)
            await until(lambda: len(watcher.rounds) > done, "another round")
            assert watcher.took_part("carol")  # the connection that stands was good
            line.cut()
            await until(lambda: any("given up" in text for *_, text in watcher.notices), "the end")
            dialled = line.dialled
            await goes_on_without(watcher, "carol")
            assert line.dialled == dialled
            assert any("it was revoked on" in why for why in watcher.reasons("carol"))
            assert any(
                node == "carol" and "given up" in text and "revoked" in text
                for _, node, text in watcher.notices
            )

    asyncio.run(session())


def test_a_certificate_that_is_refused_is_final_and_another_refusal_is_not() -> None:
    assert verdict(CertificateRefused("no")) is Retry.NEVER
    assert verdict(IdentityError("no")) is Retry.NEVER
    assert verdict(HandshakeRefused("no")) is Retry.NEXT_ROUND
    assert verdict(NodeUnreachable("no")) is Retry.NOW


def test_a_coordinator_gets_no_result_of_another_by_claiming_its_name(
    bob: LocalNode, ours: Federation, recipe: Recipe
) -> None:
    async def trained_by(name: str, claimed: str, wanted: dict[str, Any]) -> None:
        context = unchecked_client(ours.coordinator(name))
        async with connect(bob.url, ssl=context, proxy=None, **transport_options()) as connection:
            peer = Peer(connection)
            await peer.greet(Greeting(role="coordinator", id=claimed))
            request = {**wanted, "state_id": await send_state(peer, recipe)}
            assert reply(await peer.ask(command(TRAIN, **request)))["rows"] == 140

    def trainings() -> int:
        return sum("training round" in line and "loss" in line for line in bob.log)

    async def session() -> None:
        wanted = training_of(recipe, 0)
        await trained_by("coordinator", "coordinator", wanted)
        await trained_by("coordinator", "somebody-else", wanted)  # remembered: it is the same
        await until(lambda: trainings() == 1, "bob's log")
        await trained_by("second", "coordinator", wanted)
        await until(lambda: trainings() == 2, "a training of its own")

    bob.log.clear()
    asyncio.run(session())
