"""Rosters and whose keys stand in them: bounds, times, and what masks are bound to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from shared.identity.certificates import Name, key_fingerprint
from shared.identity.folder import load
from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.messages import Keys, Masking, Roster
from shared.secure_aggregation.roster import (
    VerifiedRoster,
    check_peers,
    read_keys,
    threshold,
)
from shared.secure_aggregation.trust import Signer, Trust
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import context, federation, names, owner, signer, trust
from tests.worker_node.secure_aggregation.false_certificates import ca_key


@pytest.mark.parametrize("owners", range(2, 101))
def test_so_many_must_agree_that_two_sets_share_an_honest_owner(owners: int) -> None:
    found = threshold(owners)
    assert 3 * found > 2 * owners >= 3 * (found - 1)


def test_a_roster_knows_its_owners_by_id_and_place() -> None:
    signed = {one: owner(one).keys() for one in names(3)}
    data = Roster(keys=tuple(signed.values())).pack()
    found = VerifiedRoster.read(data, context(), trust(), datetime.now(UTC))
    assert list(found.peers) == names(3)
    assert [found.place(one) for one in names(3)] == [1, 2, 3]
    assert (found.digest, found.threshold, found.context) == (digest(data), 3, context())
    for one, peer in found.peers.items():
        public = signer(one).key.public_key()
        assert (peer.id, peer.signed, peer.key) == (one, signed[one], public)
        assert peer.fingerprint == key_fingerprint(public)


def test_masks_are_bound_to_roster_dealers_and_what_was_measured() -> None:
    roster = VerifiedRoster(context(), {}, b"d" * 32)
    dealers, measured = ("a", "b"), b"m" * 32
    told = Masking(roster=b"d" * 32, dealers=dealers, measured=measured).digest()
    assert roster.masking(dealers, measured) == told
    others = {
        VerifiedRoster(context(), {}, b"e" * 32).masking(dealers, measured),
        roster.masking(("a",), measured),
        roster.masking(dealers, b"n" * 32),
    }
    assert len(others | {told}) == 4


def peer(one: str, number: int) -> Any:
    """A peer, as far as it is compared with others."""
    keys = SimpleNamespace(mask_key=b"m%d" % number, share_key=b"s%d" % number)
    return SimpleNamespace(id=one, keys=keys)


def rule_of(peers: list[Any]) -> str:
    try:
        check_peers(peers)
    except Violation as violation:
        return violation.rule
    return ""


@pytest.mark.parametrize(
    ("count", "rule"), [(0, "roster"), (1, "roster"), (2, ""), (100, ""), (101, "roster")]
)
def test_a_roster_has_2_to_100_owners(count: int, rule: str) -> None:
    assert rule_of([peer(f"o{number:03d}", number) for number in range(count)]) == rule


def test_owners_are_sorted_stand_there_once_and_have_keys_of_their_own() -> None:
    a, b, c = peer("a", 1), peer("b", 2), peer("c", 3)
    assert rule_of([a, b, c]) == ""
    for wrong in ([b, a, c], [a, b, b], [a, a]):
        assert rule_of(wrong) == "roster"
    for first, second in (
        ("mask_key", "mask_key"),
        ("share_key", "mask_key"),
        ("share_key", "share_key"),
    ):
        same = peer("b", 2)
        setattr(same.keys, second, getattr(a.keys, first))
        assert rule_of([a, same, c]) == "fresh_keys"
    same = peer("b", 2)
    same.keys.mask_key = same.keys.share_key
    assert rule_of([a, same, c]) == "fresh_keys"


def test_keys_of_another_context_are_refused_by_what_differs() -> None:
    good = owner("o00").keys()
    now = datetime.now(UTC)
    read = read_keys(good, context(), trust(), now)
    assert (read.id, read.signed) == ("o00", good)
    for rule, other in (
        ("run", context(run="run-2")),
        ("round", context(number=2)),
        ("rounds", context(rounds=8)),
        ("sum", context(which="evaluation")),
        ("state", context(state=b"x")),
        ("recipe", context(recipe=b"x")),
    ):
        with pytest.raises(Violation, match=f"for another {rule}$") as caught:
            read_keys(good, other, trust(), now)
        assert caught.value.rule == rule
    false = Keys.read_signed(good)[0].model_copy(update={"share_key": bytes(32)})
    with pytest.raises(Violation, match="small order"):
        read_keys(false.sign(signer("o00").key), context(), trust(), now)
    with pytest.raises(Violation, match="not signed by"):
        read_keys(Keys.read_signed(good)[0].sign(signer("o01").key), context(), trust(), now)


# certificates


def dates() -> tuple[datetime, datetime]:
    found = x509.load_der_x509_certificate(signer("o00").certificate)
    return found.not_valid_before_utc, found.not_valid_after_utc


def lasting_trust(revoked: int | None = None, until: datetime | None = None) -> Trust:
    """The federation's CA, with a list that lasts for ever, or until then."""
    before = datetime(2000, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(trust().ca.subject)
        .last_update(before)
        .next_update(until or datetime(2200, 1, 1, tzinfo=UTC))
    )
    if revoked is not None:
        entry = x509.RevokedCertificateBuilder(revoked, before).build()
        builder = builder.add_revoked_certificate(entry)
    return Trust(trust().ca, builder.sign(ca_key(), hashes.SHA256()))


def test_a_certificate_counts_from_its_first_second_to_its_last() -> None:
    der, second = signer("o00").certificate, timedelta(seconds=1)
    begins, ends = dates()
    good = lasting_trust()
    for now in (begins, begins + second, ends - second, ends):
        assert good.node_key(der, "o00", now) == signer("o00").key.public_key()
    for now in (begins - second, ends + second):
        with pytest.raises(Violation, match="not valid now") as caught:
            good.node_key(der, "o00", now)
        assert caught.value.rule == "certificate"


def test_a_list_of_revoked_certificates_counts_to_its_last_second() -> None:
    der = signer("o00").certificate
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    limited = lasting_trust(until=until)
    limited.node_key(der, "o00", until)
    with pytest.raises(Violation, match="list of revoked certificates has ended") as caught:
        limited.node_key(der, "o00", until + timedelta(seconds=1))
    assert caught.value.rule == "revoked"


def sequence(content: bytes) -> bytes:
    """DER, of 65,535 bytes at most."""
    if len(content) < 128:
        return b"\x30" + bytes([len(content)]) + content
    size = len(content).to_bytes(1 if len(content) < 256 else 2, "big")
    return b"\x30" + bytes([0x80 + len(size)]) + size + content


def without_an_end(of: x509.CertificateRevocationList, ends: datetime) -> Trust:
    """The same list, signed anew, without the time of the next one (RFC 5280, 5.1)."""
    signed, inside = of.tbs_certlist_bytes, f"\x17\x0d{ends:%y%m%d%H%M%S}Z".encode()
    assert signed.count(inside) == 1
    content = signed[2 + max(0, signed[1] - 0x80) :]
    changed = sequence(content.replace(inside, b""))
    signature = ca_key().sign(changed, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    bits = b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    return Trust(trust().ca, x509.load_der_x509_crl(sequence(changed + algorithm + bits)))


def test_a_list_that_says_no_end_has_none() -> None:
    ends = datetime(2040, 1, 1, tzinfo=UTC)
    serial = x509.load_der_x509_certificate(signer("o00").certificate).serial_number
    endless = without_an_end(lasting_trust(serial, ends).crl, ends)
    assert endless.crl.next_update_utc is None
    endless.node_key(signer("o01").certificate, "o01", datetime.now(UTC))
    with pytest.raises(Violation, match="certificate of o00 is revoked"):
        endless.node_key(signer("o00").certificate, "o00", datetime.now(UTC))


def test_a_revoked_certificate_does_not_count_and_others_do() -> None:
    serial = x509.load_der_x509_certificate(signer("o00").certificate).serial_number
    strict = lasting_trust(serial)
    with pytest.raises(Violation, match="certificate of o00 is revoked") as caught:
        strict.node_key(signer("o00").certificate, "o00", datetime.now(UTC))
    assert caught.value.rule == "revoked"
    strict.node_key(signer("o01").certificate, "o01", datetime.now(UTC))


def certified(key: Any, name: Name) -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject_name=name.subject,
        issuer_name=trust().ca.subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    ).add_extension(name.alternative, critical=False)
    return builder.sign(ca_key(), hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("key", "role", "why"),
    [
        (ec.SECP256R1(), "node", ""),
        (ec.SECP256R1(), "coordinator", "is that of"),
        (ec.SECP256K1(), "node", "a key of another kind"),
        (None, "node", "a key of another kind"),
    ],
)
def test_a_nodes_key_of_a_curve_that_is_used_here_counts(key: Any, role: Any, why: str) -> None:
    made: Any = (
        ed25519.Ed25519PrivateKey.generate() if key is None else ec.generate_private_key(key)
    )
    der = certified(made, Name(role, "o00"))
    now = datetime.now(UTC)
    if not why:
        assert lasting_trust().node_key(der, "o00", now) == made.public_key()
        return
    with pytest.raises(Violation, match=why) as caught:
        lasting_trust().node_key(der, "o00", now)
    assert caught.value.rule == "certificate"


@pytest.mark.parametrize("der", [b"", b"x", b"\x30\x00"])
def test_what_is_no_certificate_does_not_count(der: bytes) -> None:
    with pytest.raises(Violation, match="malformed, or names nobody") as caught:
        trust().node_key(der, "o00", datetime.now(UTC))
    assert caught.value.rule == "certificate"


def test_a_certificate_of_another_ca_or_anothers_name_does_not_count() -> None:
    der, now = signer("o00").certificate, datetime.now(UTC)
    with pytest.raises(Violation, match="certificate of o01 is that of"):
        trust().node_key(der, "o01", now)
    other = load(federation().coordinator(), "coordinator")
    foreign = replace(trust(), ca=other.certificate)
    with pytest.raises(Violation, match="not signed by this federation's CA"):
        foreign.node_key(der, "o00", now)


def test_who_signs_is_whom_the_folder_names() -> None:
    found = Signer.of(load(federation().node("o00"), "node"))
    assert (found.id, found.certificate) == ("o00", signer("o00").certificate)
    assert (
        found.trust.node_key(found.certificate, "o00", datetime.now(UTC)) == found.key.public_key()
    )
