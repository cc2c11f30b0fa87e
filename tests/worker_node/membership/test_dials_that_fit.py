"""What a node may dial by what it proves itself with; and whose certificate a peer has shown."""

from __future__ import annotations

import ssl
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from shared.errors import CertificateRefused, IdentityError, UsageError
from shared.identity.certificates import Name, key_from_pem
from shared.identity.folder import Identity, load
from shared.wire.frames import MalformedFrame
from tests.helpers.identities import Federation, make_federation
from tests.helpers.made_certificates import BOB, new_ca, resigned, uris
from worker_node.membership.admission import Admission, check_dials, peer_name

HOME, ELSEWHERE = "127.0.0.1:8770", "coordinator.example:8770"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("ours"))
    made.coordinator()
    made.node("bob")
    return made


@pytest.fixture(scope="module")
def bob(ours: Federation) -> Identity:
    return load(ours.node("bob"), "node")


@pytest.mark.parametrize(
    ("url", "has_identity", "insecure", "refusal"),
    [
        (f"wss://{ELSEWHERE}", True, False, ""),
        (f"wss://{HOME}", True, False, ""),
        (f"wss://{ELSEWHERE}", False, False, "cannot be dialled"),
        (f"wss://{HOME}", False, True, "cannot be dialled"),
        (f"ws://{HOME}", True, False, "and this node proves who it is"),
        (f"ws://{ELSEWHERE}", True, False, "and this node proves who it is"),
        (f"ws://{HOME}", False, False, ""),
        ("ws://[::1]:8770", False, False, ""),
        (f"ws://{ELSEWHERE}", False, False, "whoever is on the line could be the coordinator"),
        (f"ws://{ELSEWHERE}", False, True, ""),
    ],
)
def test_tls_goes_with_an_identity_and_its_lack_with_this_machine(
    url: str, has_identity: bool, insecure: bool, refusal: str, bob: Identity
) -> None:
    own = bob if has_identity else None
    if not refusal:
        check_dials([url], own, insecure)
        return
    with pytest.raises(UsageError, match=refusal):
        check_dials([url], own, insecure)
    # one that fits goes before it, and does not hide it
    good = f"wss://{HOME}" if has_identity else f"ws://{HOME}"
    with pytest.raises(UsageError, match=refusal):
        check_dials([good, url], own, insecure)


def test_a_certificate_that_is_only_for_being_dialled_is_told_when_something_is_dialled(
    ours: Federation, bob: Identity
) -> None:
    ca_key = key_from_pem(ours.ca_key_path().read_bytes())
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    older = replace(bob, certificate=_for(bob, ca_key, usage))
    check_dials([], older, insecure=False)
    with pytest.raises(IdentityError, match="older version"):
        check_dials([f"wss://{HOME}"], older, insecure=False)


def _for(own: Identity, ca_key: Any, usage: Any) -> Any:
    from cryptography import x509

    return resigned(own.certificate, ca_key, usage=x509.ExtendedKeyUsage([usage]))


def shown(data: bytes | None, has_tls: bool = True) -> Any:
    """A connection whose other end has shown this certificate."""

    def getpeercert(binary_form: bool = False) -> Any:
        return data if binary_form else {}

    tls = SimpleNamespace(getpeercert=getpeercert) if has_tls else None
    transport = SimpleNamespace(get_extra_info=lambda name: tls if name == "ssl_object" else None)
    return SimpleNamespace(transport=transport)


def test_the_name_of_a_peer_is_that_of_its_certificate(ours: Federation, bob: Identity) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    assert peer_name(shown(None, has_tls=False)) is None
    assert peer_name(shown(None)) is None
    assert peer_name(shown(bob.certificate.public_bytes(Encoding.DER))) == BOB
    ca = new_ca()
    nobody = ca.signs(BOB, ca.key.public_key(), alternative=uris("https://bob.example"))
    with pytest.raises(MalformedFrame, match="does not say whose it is"):
        peer_name(shown(nobody.public_bytes(Encoding.DER)))


def test_who_is_no_coordinator_is_told_so_and_not_that_it_is_not_allowed() -> None:
    context = cast(ssl.SSLContext, None)
    admission = Admission(BOB, cast(Any, None), context, frozenset({"hospital"}))
    with pytest.raises(CertificateRefused, match="works with coordinators, and node anne is none"):
        admission.check(Name("node", "anne"))
    with pytest.raises(CertificateRefused, match="does not work with coordinator clinic"):
        admission.check(Name("coordinator", "clinic"))
