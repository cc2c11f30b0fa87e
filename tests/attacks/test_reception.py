"""The port that takes invitations: what it says to strangers, and whose answers are taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.authority.enrolment import spread_crl
from server.authority.invitations import Invitations
from server.nodes.port import Port, open_port
from server.nodes.reception import Reception
from shared.errors import CertificateRefused, FedsmsError, IdentityError, NodeUnreachable
from shared.identity.certificates import crl_from_pem, crl_number
from shared.identity.folder import CRL, install_crl
from shared.identity.invitation import Invitation
from shared.locking import locked
from shared.wire.timeouts import Timeouts
from tests.helpers.dialling_nodes import PATIENT, knocking_node
from tests.helpers.federating import until
from tests.helpers.identities import Federation, make_federation, unchecked_client
from worker_node.membership.joining import join_by_invitation

pytestmark = pytest.mark.timeout(120)
SECURE = "wss://127.0.0.1:0"
DAY = timedelta(days=1)


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    made = make_federation(tmp_path / "ours")
    made.coordinator()
    return made


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@asynccontextmanager
async def reception(ours: Federation, timeouts: Timeouts = PATIENT) -> Any:
    taken = Invitations(ours.authority)
    took = Reception(taken)
    async with open_port(SECURE, (), ours.coordinator(), timeouts, reception=took) as port:
        yield port, taken


def invited(port: Port, taken: Invitations) -> Invitation:
    return taken.invite("bob", port.url.removeprefix("wss://"), DAY, days=30)


def test_a_stranger_is_told_nothing_of_what_is_wrong_with_the_coordinators_files(
    ours: Federation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with reception(ours) as (port, taken):
            line = invited(port, taken)
            key = ours.ca_key_path()
            key.rename(key.with_name("away"))
            with pytest.raises(CertificateRefused, match="could not sign") as caught:
                await join_by_invitation(line, tmp_path / "bob")
            assert str(ours.folder) not in str(caught.value)
            key.with_name("away").rename(key)
            await join_by_invitation(line, tmp_path / "bob")

    run(scene())
    assert "ca-key.pem" in caplog.text


def test_signing_may_wait_for_another_command_longer_than_a_stranger_may_take(
    ours: Federation, tmp_path: Path
) -> None:
    quick = Timeouts(handshake_timeout=0.5, heartbeat=0)
    seen = asyncio.Event()

    async def scene() -> None:
        async with reception(ours, quick) as (port, taken):
            line = invited(port, taken)
            with locked(ours.authority.folder, ".lock"):
                joining = asyncio.create_task(join_by_invitation(line, tmp_path / "bob", PATIENT))
                await until(lambda: taken.all()[-1].key is not None, "its secret is spent")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(seen.wait(), 1.0)  # twice what a question may take
                assert not joining.done()
            await joining

    run(scene())


def test_an_answer_of_a_coordinator_whose_certificate_was_revoked_is_not_installed(
    ours: Federation, tmp_path: Path
) -> None:
    """Whoever joins has no list of revoked ones before; the answer brings it."""
    ours.authority.revoke("coordinator")

    async def scene() -> None:
        async with reception(ours) as (port, taken):
            with pytest.raises(IdentityError, match="whose certificate was revoked"):
                await join_by_invitation(invited(port, taken), tmp_path / "bob")

    run(scene())
    assert not (tmp_path / "bob" / "certificate.pem").exists()
    assert not (tmp_path / "bob" / "ca.pem").exists()


def test_of_lists_that_are_spread_at_the_same_time_the_newest_stays(ours: Federation) -> None:
    """Each thread revokes and spreads; who has read an older list does not write over a newer."""
    folder = ours.coordinator()
    names = [f"node{number}" for number in range(8)]
    for name in names:
        ours.node(name)
    ready = threading.Barrier(len(names))
    failures: list[FedsmsError] = []

    def revoke(name: str) -> None:
        ready.wait()
        try:
            ours.authority.revoke(name)
            spread_crl(ours.authority, folder)
        except FedsmsError as error:
            failures.append(error)

    threads = [threading.Thread(target=revoke, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (folder / CRL).read_bytes() == ours.authority.crl()


def test_a_list_is_read_once_nobody_else_installs_one(ours: Federation) -> None:
    """The race step by step: who read before, and comes after, would put the older one back."""
    folder = ours.coordinator()
    ours.node("bob")
    older = crl_from_pem(ours.authority.crl())
    ours.authority.revoke("bob")
    newer = crl_from_pem(ours.authority.crl())
    assert crl_number(newer) > crl_number(older)
    entered, go = threading.Event(), threading.Event()

    def slowly() -> Any:
        entered.set()
        assert go.wait(60)
        return older

    first = threading.Thread(target=install_crl, args=(folder, slowly, "first"))
    first.start()
    assert entered.wait(60)
    second = threading.Thread(target=install_crl, args=(folder, lambda: newer, "second"))
    second.start()
    go.set()
    first.join()
    second.join()
    assert crl_number(crl_from_pem((folder / CRL).read_bytes())) == crl_number(newer)


def test_a_refusal_of_long_ago_is_not_told_to_who_waits_now(
    ours: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        bob, other = ours.node("bob"), ours.coordinator("other")
        waits = Timeouts(handshake_timeout=60, heartbeat=0, dial_in_wait=0.2)
        async with open_port(SECURE, {"bob"}, other, waits) as port:
            places: Any = port.places
            async with knocking_node(port.url, bob):
                await until(lambda: places._of["bob"].error is not None, "its refusal")
            places._of["bob"].failed_at -= 61
            with pytest.raises(NodeUnreachable, match="has not dialled in"):
                await port.places.take("bob", port.url, 0.2)

    run(scene())


def test_a_stranger_gets_no_place_at_a_coordinator_that_takes_every_node(
    ours: Federation, tmp_path: Path
) -> None:
    """Every node of the federation, and nobody else: no other one's, no coordinator, no revoked."""
    others = make_federation(tmp_path / "others")
    others.coordinator()
    ours.node("gone")
    ours.authority.revoke("gone")
    spread_crl(ours.authority, ours.coordinator())

    async def scene() -> None:
        opened = open_port(SECURE, None, ours.coordinator(), PATIENT)
        async with opened as port:
            async with knocking_node(port.url, others.node("bob")) as line:
                await until(lambda: line.state.startswith("knocking"), "its refusal")
            async with knocking_node(port.url, ours.node("gone"), "gone") as line:
                await until(lambda: "revoked" in line.state, "the revoked one's refusal")
            as_node = unchecked_client(ours.coordinator("second"))
            async with connect(port.url, ssl=as_node, proxy=None) as peer:
                with pytest.raises(ConnectionClosed, match="names no node"):
                    await peer.recv()
            assert port.places.here == {}
            async with knocking_node(port.url, ours.node("anne"), "anne"):
                await until(lambda: set(port.places.here) == {"anne"}, "a member's line")
            await until(lambda: port.places.here == {}, "its end")

    run(scene())
