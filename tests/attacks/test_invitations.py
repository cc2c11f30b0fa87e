"""An invitation: guessed, replayed, raced for, read on the way, stolen after use, flooded."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import ssl
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed, InvalidMessage

from server.authority import invitations as invitations_module
from server.authority.invitations import INVITATIONS, MAX_TRIES, Invitations
from server.nodes.addresses import NodeAddress
from server.nodes.port import Port, open_port
from server.nodes.reception import Reception
from shared.errors import CertificateRefused, FedsmsError, IdentityError, UsageError
from shared.identity.certificates import Name, fingerprint, new_key, new_request, to_pem
from shared.identity.folder import load
from shared.identity.invitation import Invitation, parse_invitation
from shared.wire.frames import pack_map, unpack_map
from shared.wire.joining import JOIN_PATH, JoinQuestion
from tests.attacks.scene import report
from tests.helpers.dialling_nodes import PATIENT, knocking_node
from tests.helpers.federating import until
from tests.helpers.identities import Federation, make_federation, unchecked_client, unchecked_server
from worker_node.membership.dials import read_dials
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
async def reception(ours: Federation) -> Any:
    """Gives the port, and the invitations that it takes."""
    taken = Invitations(ours.authority)
    async with open_port(
        SECURE, (), ours.coordinator(), PATIENT, reception=Reception(taken)
    ) as port:
        yield port, taken


def invited(port: Port, taken: Invitations) -> Invitation:
    return taken.invite("bob", port.url.removeprefix("wss://"), DAY, days=30)


async def hears_nothing(url: str, context: ssl.SSLContext, words: str | bytes) -> None:
    """Says something, and is hung up on without an answer."""
    with suppress(OSError, EOFError, InvalidMessage, ConnectionClosed):
        async with connect(url, ssl=context, proxy=None) as peer:
            await peer.send(words)
            raise AssertionError(f"it was told {await peer.recv()!r}")


def question(invitation: Invitation, key: Any = None, node: str = "") -> JoinQuestion:
    request = new_request(key or new_key(), Name("node", node or invitation.node)).decode()
    return JoinQuestion(invitation=invitation.id, secret=invitation.secret, request=request)


def offline(ours: Federation, node: str = "bob") -> tuple[Invitations, Invitation]:
    taken = Invitations(ours.authority)
    return taken, taken.invite(node, "coordinator.example:8770", DAY, days=30)


def state(taken: Invitations) -> str:
    return taken.all()[-1].state


def other_secret(invitation: Invitation) -> Invitation:
    return replace(invitation, secret="A" * len(invitation.secret))


def test_who_has_the_line_joins_and_knows_where_to_dial(ours: Federation, tmp_path: Path) -> None:
    async def scene() -> None:
        async with reception(ours) as (port, taken):
            invitation = invited(port, taken)
            joined = await join_by_invitation(parse_invitation(invitation.line), tmp_path / "bob")
            assert joined.name == Name("node", "bob")
            assert read_dials(tmp_path / "bob") == [port.url]
            (told,) = taken.all()
            assert (told.state, told.origin) == ("joined", "127.0.0.1")
            # the answer may have got lost: the same key may ask again
            await join_by_invitation(invitation, tmp_path / "bob")

    run(scene())
    own = load(tmp_path / "bob", "node")
    assert own.ca == ours.authority.ca
    assert (tmp_path / "bob" / "coordinators.txt").read_text().splitlines()[1] == "coordinator"


def test_a_line_that_was_used_is_of_no_use_to_a_thief(ours: Federation, tmp_path: Path) -> None:
    async def scene() -> None:
        async with reception(ours) as (port, taken):
            invitation = invited(port, taken)
            await join_by_invitation(invitation, tmp_path / "bob")
            with pytest.raises(CertificateRefused, match="has joined as bob") as caught:
                await join_by_invitation(invitation, tmp_path / "thief")
            assert "python -m server revoke bob" in str(caught.value)
            assert not (tmp_path / "thief" / "certificate.pem").exists()

    run(scene())
    assert len([one for one in ours.authority.issued() if one.id == "bob"]) == 1
    report("an invitation's line, stolen after use", "none is asked for", "refused; its owner told")


def test_a_secret_is_guessed_five_times_at_most_and_then_the_line_itself_is_refused(
    ours: Federation,
) -> None:
    taken, invitation = offline(ours)
    for _ in range(MAX_TRIES):
        assert state(taken) == "open"
        with pytest.raises(CertificateRefused, match="not good here"):
            taken.answer(question(other_secret(invitation)), "10.0.0.9")
    assert state(taken) == "closed"
    with pytest.raises(CertificateRefused, match="not good here"):
        taken.answer(question(invitation), "10.0.0.9")
    assert not [one for one in ours.authority.issued() if one.role == "node"]
    report("guess an invitation's secret", "none is asked for", "refused; five tries")


def test_who_does_not_have_the_line_cannot_use_up_its_tries(ours: Federation) -> None:
    taken, invitation = offline(ours)
    for number in range(2 * MAX_TRIES):
        unknown = replace(invitation, id=f"{number:011d}")
        with pytest.raises(CertificateRefused, match="not good here"):
            taken.answer(question(unknown), "10.0.0.9")
    assert taken.answer(question(invitation), "10.0.0.7")[0].state == "joined"


@pytest.mark.parametrize("round_number", range(3))
def test_of_two_who_join_at_the_same_time_one_gets_in(ours: Federation, round_number: int) -> None:
    taken, invitation = offline(ours, f"bob{round_number}")
    questions = [question(invitation) for _ in range(6)]

    def attempt(asked: JoinQuestion) -> bool:
        try:
            taken.answer(asked, "10.0.0.7")
        except CertificateRefused:
            return False
        return True

    with ThreadPoolExecutor(len(questions)) as threads:
        assert sum(threads.map(attempt, questions)) == 1
    assert len([one for one in ours.authority.issued() if one.role == "node"]) == 1
    report("race for one invitation", "none is asked for", "one of them joins")


def test_an_invitation_is_for_its_node_alone(ours: Federation) -> None:
    taken, invitation = offline(ours)
    with pytest.raises(CertificateRefused, match="is for node bob, and not for node anne"):
        taken.answer(question(invitation, node="anne"), "10.0.0.9")
    as_coordinator = new_request(new_key(), Name("coordinator", "bob")).decode()
    asked = question(invitation).model_copy(update={"request": as_coordinator})
    with pytest.raises(CertificateRefused, match="asks to be coordinator bob"):
        taken.answer(asked, "10.0.0.9")
    assert state(taken) == "open"


def test_who_joins_in_anothers_place_ends_its_certificates_at_the_port_too(
    ours: Federation, tmp_path: Path
) -> None:
    """A new machine of bob's, invited with --replace; the old one's key may be anybody's."""
    older = ours.node("bob")

    async def scene() -> None:
        taken = Invitations(ours.authority)
        opened = open_port(SECURE, {"bob"}, ours.coordinator(), PATIENT, reception=Reception(taken))
        async with opened as port:
            place = port.url.removeprefix("wss://")
            with pytest.raises(IdentityError, match="admitted already"):
                taken.invite("bob", place, DAY, days=30)
            invitation = taken.invite("bob", place, DAY, days=30, replace=True)
            await join_by_invitation(invitation, tmp_path / "newer")
            async with knocking_node(port.url, older) as line:
                await until(lambda: "was revoked" in line.state, "the older one's refusal")
            async with knocking_node(port.url, tmp_path / "newer"):
                link = await port.link(NodeAddress("bob", port.url, dials_in=True))
                await link.close()

    run(scene())


def test_a_spent_line_takes_nothing_back_that_was_issued_since(ours: Federation) -> None:
    taken = Invitations(ours.authority)
    first = taken.invite("bob", "coordinator.example:8770", DAY, days=30, replace=True)
    older, newer = new_key(), new_key()
    taken.answer(question(first, older), "10.0.0.7")
    ours.authority.revoke("bob")
    second = taken.invite("bob", "coordinator.example:8770", DAY, days=30, replace=True)
    taken.answer(question(second, newer), "10.0.0.8")
    with pytest.raises(IdentityError, match="was revoked"):
        taken.answer(question(first, older), "10.0.0.7")
    revoked = [one.revoked is not None for one in ours.authority.issued() if one.id == "bob"]
    assert revoked == [True, False]


def test_what_cannot_be_signed_spends_no_invitation(ours: Federation) -> None:
    kept = new_key()
    taken, first = offline(ours)
    taken.answer(question(first, kept), "10.0.0.7")
    ours.authority.revoke("bob")
    _, second = offline(ours)
    with pytest.raises(CertificateRefused, match="was revoked"):
        taken.answer(question(second, kept), "10.0.0.7")
    assert state(taken) == "open"
    taken.answer(question(second, new_key()), "10.0.0.7")
    assert state(taken) == "joined"


def test_an_invitation_ends_and_may_be_revoked(
    ours: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, invitation = offline(ours)
    assert taken.revoke("bob") == 1
    with pytest.raises(CertificateRefused, match="was revoked"):
        taken.answer(question(invitation), "10.0.0.7")
    with pytest.raises(UsageError, match="no open invitation"):
        taken.revoke("bob")
    _, first = offline(ours)
    taken, second = offline(ours)  # a newer one takes the older one's place
    with pytest.raises(CertificateRefused, match="was revoked"):
        taken.answer(question(first), "10.0.0.7")

    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + DAY + timedelta(seconds=1)

    monkeypatch.setattr(invitations_module, "datetime", Tomorrow)
    assert state(taken) == "ended"
    with pytest.raises(CertificateRefused, match="has ended"):
        taken.answer(question(second), "10.0.0.7")


def test_the_same_key_is_answered_five_times_at_most(ours: Federation) -> None:
    taken, invitation = offline(ours)
    key = new_key()
    for _ in range(MAX_TRIES):
        taken.answer(question(invitation, key), "10.0.0.7")
    with pytest.raises(CertificateRefused, match="answered too often"):
        taken.answer(question(invitation, key), "10.0.0.7")


def test_the_secret_stands_in_no_file_and_no_log(
    ours: Federation, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    async def scene() -> None:
        async with reception(ours) as (port, taken):
            invitation = invited(port, taken)
            seen.append(invitation.secret)
            assert invitation.secret not in repr(invitation)
            with pytest.raises(FedsmsError):
                await join_by_invitation(other_secret(invitation), tmp_path / "wrong")
            await join_by_invitation(invitation, tmp_path / "bob")
            with pytest.raises(FedsmsError) as caught:
                await join_by_invitation(invitation, tmp_path / "thief")
            assert invitation.secret not in str(caught.value)
            with pytest.raises(UsageError) as unread:
                parse_invitation(invitation.line[:-1])
            assert invitation.secret[:-1] not in str(unread.value)

    with caplog.at_level(logging.DEBUG):
        run(scene())
    (secret,) = seen
    assert secret not in caplog.text
    assert "has joined" in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == INVITATIONS for path in files)
    assert [path for path in files if secret.encode() in path.read_bytes()] == []
    mode = (ours.authority.folder / INVITATIONS).stat().st_mode
    assert mode & 0o077 == 0


@asynccontextmanager
async def between(folder: Path, ca: bytes) -> Any:
    """Somebody who answers in the coordinator's place; gives where, and what it was told."""
    heard: list[dict[str, Any]] = []

    async def handler(connection: ServerConnection) -> None:
        try:
            async for data in connection:
                assert isinstance(data, bytes)
                heard.append(unpack_map(data))
                await connection.send(pack_map({"ca": ca.decode()}))
        except ConnectionClosed:
            return

    context = unchecked_server(folder)
    async with serve_websockets(handler, "127.0.0.1", 0, ssl=context) as server:
        yield f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", heard


def test_another_ca_in_between_gets_neither_the_secret_nor_a_request(
    ours: Federation, tmp_path: Path
) -> None:
    others = make_federation(tmp_path / "others")
    shown = {
        # its own CA, which has another fingerprint
        others.coordinator(): to_pem(others.authority.ca),
        # the right CA, and a certificate that it did not sign
        others.coordinator("second"): to_pem(ours.authority.ca),
        # the right CA, and a good certificate of another owner
        ours.node("anne"): to_pem(ours.authority.ca),
    }

    async def scene() -> None:
        taken = Invitations(ours.authority)
        for number, (folder, ca) in enumerate(shown.items()):
            async with between(folder, ca) as (place, heard):
                invitation = taken.invite("bob", place, DAY, days=30)
                with pytest.raises(FedsmsError):
                    await join_by_invitation(invitation, tmp_path / f"bob{number}")
                assert all(told == {} for told in heard)
                assert not (tmp_path / f"bob{number}" / "certificate.pem").exists()

    run(scene())
    report("another CA between an owner and the coordinator", "none is asked for", "told no secret")


def test_an_identity_of_another_federation_is_not_replaced(
    ours: Federation, tmp_path: Path
) -> None:
    others = make_federation(tmp_path / "others")
    others.coordinator()
    folder = others.node("bob")
    _, invitation = offline(ours)
    with pytest.raises(IdentityError, match="another federation"):
        asyncio.run(join_by_invitation(invitation, folder))
    assert fingerprint(load(folder, "node").ca) == fingerprint(others.authority.ca)


def test_who_has_no_certificate_gets_nothing_else_at_the_port(ours: Federation) -> None:
    async def scene() -> None:
        nobody = unchecked_client(None)
        async with reception(ours) as (port, taken):
            invited(port, taken)
            async with connect(port.url, ssl=nobody, proxy=None) as peer:
                with pytest.raises(ConnectionClosed, match="a certificate is missing"):
                    await peer.recv()
            for words in (b"\xc1", pack_map({"request": "x"}), "text", bytes(2**17)):
                await hears_nothing(port.url + JOIN_PATH, nobody, words)
            late = unchecked_client(ours.expire(ours.node("late")))
            await hears_nothing(port.url + JOIN_PATH, late, pack_map({}))

    run(scene())


def test_a_port_without_open_invitations_asks_everybody_for_a_certificate(
    ours: Federation,
) -> None:
    async def scene() -> None:
        async with open_port(SECURE, {"bob"}, ours.coordinator(), PATIENT) as port:
            await hears_nothing(port.url + JOIN_PATH, unchecked_client(None), pack_map({}))

    run(scene())


def test_the_authority_must_be_the_coordinators_own(ours: Federation, tmp_path: Path) -> None:
    others = make_federation(tmp_path / "others")
    taken = Reception(Invitations(others.authority))

    async def scene() -> None:
        async with open_port(SECURE, (), ours.coordinator(), PATIENT, reception=taken):
            raise AssertionError("it listens")

    with pytest.raises(IdentityError, match="is not the one of"):
        run(scene())


def test_secrets_are_compared_in_constant_time(
    ours: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the one function that does so, for known and unknown invitations alike, on digests."""
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    taken, invitation = offline(ours)
    unknown = replace(invitation, id="A" * len(invitation.id))
    for asked in (unknown, other_secret(invitation)):
        with pytest.raises(CertificateRefused):
            taken.answer(question(asked), "10.0.0.9")
    taken.answer(question(invitation), "10.0.0.7")
    assert len(compared) == 3
    assert all(len(one) == len(other) == 64 for one, other in compared)


@given(st.text(max_size=200))
def test_no_text_but_a_whole_line_is_an_invitation(text: str) -> None:
    line = f"fedsms:bob@host:8770/{'0' * 64}/{'a' * 11}.{'b' * 22}"
    assert parse_invitation(f" {line}\n").line == line
    assert parse_invitation(f"python -m worker_node join {line}\n").line == line
    for wrong in (text, line + text, line[: len(text)]):
        if wrong.strip() != line:
            with pytest.raises(UsageError) as caught:
                parse_invitation(wrong)
            assert "b" * 22 not in str(caught.value)


def test_a_line_has_as_many_bits_as_it_says(ours: Federation) -> None:
    secrets = {offline(ours)[1].secret for _ in range(20)}
    assert len(secrets) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in secrets)
