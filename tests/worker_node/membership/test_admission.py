"""Whom a node lets in, and with which identity it serves."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from shared.errors import CertificateRefused, IdentityError, UsageError
from shared.identity.certificates import Name
from shared.identity.folder import load
from tests.helpers.identities import Federation, make_federation
from worker_node.membership.admission import (
    Admission,
    find_identity,
    make_admission,
)

BOB = Name("node", "bob")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("federation"))
    made.coordinator("hospital")
    made.node("bob")
    return made


@pytest.mark.parametrize(
    ("peer", "comes_in"),
    [
        (Name("coordinator", "hospital"), True),
        (Name("coordinator", "clinic"), False),
        (Name("node", "hospital"), False),
        (Name("coordinator", "Hospital"), False),
    ],
    ids=str,
)
def test_a_coordinator_comes_in_by_its_name_and_its_role(peer: Name, comes_in: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    admission = Admission(BOB, Path("bob"), context, frozenset({"hospital"}))
    if comes_in:
        admission.check(peer)
        return
    with pytest.raises(CertificateRefused, match=f"{peer}"):
        admission.check(peer)


def test_who_shows_no_certificate_does_not_come_in() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(CertificateRefused, match="nobody who shows no certificate"):
        Admission(BOB, Path("bob"), context, frozenset({"hospital"})).check(None)


def test_names_that_are_given_come_before_the_file(federation: Federation) -> None:
    own = load(federation.node("bob"), "node")
    assert make_admission(own, ()).coordinators == {"hospital"}
    assert make_admission(own, ("clinic",)).coordinators == {"clinic"}
    assert make_admission(own, ()).node == BOB


def test_a_node_that_would_work_with_nobody_does_not_start(federation: Federation) -> None:
    own = load(federation.node("alone"), "node")
    (own.folder / "coordinators.txt").write_text("# none\n", encoding="utf-8")
    with pytest.raises(IdentityError, match="would work with no coordinator"):
        make_admission(own, ())
    assert make_admission(own, ("clinic",)).coordinators == {"clinic"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_without_an_identity_a_node_serves_this_machine_alone(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_identity(None, host, insecure=False) is None
    for beyond in ("0.0.0.0", "10.0.0.7", "example.org"):
        with pytest.raises(UsageError, match="reached from other machines without TLS"):
            find_identity(None, beyond, insecure=False)
        assert find_identity(None, beyond, insecure=True) is None


def test_an_identity_that_is_there_is_used_and_one_that_is_begun_is_an_error(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bob = federation.node("bob")
    own = find_identity(bob, "0.0.0.0", insecure=False)
    assert own is not None
    assert own.name == BOB
    assert find_identity(bob, "0.0.0.0", insecure=True) is None
    (tmp_path / "identity").symlink_to(bob)
    for host in ("0.0.0.0", "127.0.0.1"):
        own = find_identity(None, host, insecure=False)
        assert own is not None
        assert own.name == BOB
    (tmp_path / "identity").unlink()
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "key.pem").touch()
    with pytest.raises(IdentityError, match="there is no node's identity"):
        find_identity(None, "127.0.0.1", insecure=False)
    with pytest.raises(IdentityError):
        find_identity(tmp_path / "missing", "127.0.0.1", insecure=False)
    with pytest.raises(IdentityError, match="it is a coordinator's"):
        find_identity(federation.coordinator("hospital"), "127.0.0.1", insecure=False)
