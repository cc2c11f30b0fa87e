"""Keys of a sealed session, each refused for one thing alone, and what a seal is bound to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.identity.certificates import key_fingerprint
from shared.identity.folder import load
from shared.pointers.sealed_sessions import (
    MAX_PARTIES,
    TAG_BYTES,
    Seal,
    SealedContext,
    SealedKey,
    Unreadable,
    common_secrets,
    read_keys,
)
from shared.secure_aggregation.key_agreement import PrivateKey
from shared.secure_aggregation.trust import Signer
from shared.secure_aggregation.violation import Violation
from tests.helpers.identities import make_federation
from tests.helpers.sealed import context_of

NAMES = ("anne", "bob", "carol", "dora")


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    made = make_federation(tmp_path_factory.mktemp("sealed"))
    return {name: Signer.of(load(made.node(name), "node")) for name in NAMES}


def key_of(signer: Signer, context: SealedContext, own: PrivateKey, **changed: Any) -> bytes:
    good: dict[str, Any] = {
        "context": context.pack(),
        "party": signer.id,
        "certificate": signer.certificate,
        "key": own.public,
    }
    return SealedKey(**{**good, **changed}).sign(signer.key)


class Keys:
    """Everybody's keys of one session, in their order."""

    def __init__(self, signers: dict[str, Signer], context: SealedContext | None = None) -> None:
        self.signers = signers
        self.context = context or context_of()
        self.own = {name: PrivateKey() for name in self.context.parties}
        self.signed = [key_of(signers[name], self.context, own) for name, own in self.own.items()]

    def read(self, signed: list[bytes] | None = None, now: datetime | None = None) -> Any:
        trust = self.signers["bob"].trust
        return read_keys(
            self.signed if signed is None else signed, self.context, trust, now or datetime.now(UTC)
        )

    def refused(self, rule: str, signed: list[bytes], now: datetime | None = None) -> None:
        with pytest.raises(Violation) as caught:
            self.read(signed, now)
        assert caught.value.rule == rule


@pytest.mark.parametrize("owner", ["bob", "anne", "dora"])
def test_everybodys_keys_are_read_in_their_order(signers: dict[str, Signer], owner: str) -> None:
    keys = Keys(signers, context_of(owner=owner))
    found = keys.read()
    names = sorted({"anne", "bob", "carol", owner})
    assert list(found) == list(keys.context.parties) == names
    for name, party in found.items():
        assert party.public == keys.own[name].public
        assert party.fingerprint == key_fingerprint(signers[name].key.public_key())


def test_keys_that_are_missing_double_or_out_of_order_are_refused(
    signers: dict[str, Signer],
) -> None:
    keys = Keys(signers)
    anne, bob, carol = keys.signed
    for wrong in ([], [anne, bob], [bob, anne, carol], [anne, bob, carol, carol]):
        keys.refused("roster", wrong)
    dora = key_of(signers["dora"], keys.context, PrivateKey())
    for wrong in ([anne, bob, carol, dora], [anne, bob, dora]):
        keys.refused("roster", wrong)


def test_a_key_of_another_session_is_refused(signers: dict[str, Signer]) -> None:
    keys, other = Keys(signers), Keys(signers)
    keys.refused("roster", [*keys.signed[:2], other.signed[2]])


def test_a_key_that_its_party_did_not_sign_is_refused(signers: dict[str, Signer]) -> None:
    keys = Keys(signers)
    body = SealedKey.read_signed(keys.signed[2])[0]
    by_anne = body.sign(signers["anne"].key)
    keys.refused("signature", [*keys.signed[:2], by_anne])


def test_another_ones_certificate_is_refused(signers: dict[str, Signer]) -> None:
    keys = Keys(signers)
    theirs = key_of(signers["anne"], keys.context, PrivateKey(), party="carol")
    keys.refused("certificate", [*keys.signed[:2], theirs])


def test_a_certificate_that_has_ended_or_is_of_another_ca_is_refused(
    signers: dict[str, Signer], tmp_path: Path
) -> None:
    keys = Keys(signers)
    keys.refused("certificate", keys.signed, datetime.now(UTC) + timedelta(days=4000))
    foreign = Signer.of(load(make_federation(tmp_path).node("carol"), "node"))
    theirs = key_of(foreign, keys.context, PrivateKey())
    keys.refused("certificate", [*keys.signed[:2], theirs])


def test_a_key_that_agrees_on_what_everybody_knows_is_refused(signers: dict[str, Signer]) -> None:
    keys = Keys(signers)
    zero = key_of(signers["carol"], keys.context, PrivateKey(), key=bytes(32))
    keys.refused("small_order", [*keys.signed[:2], zero])


def test_one_key_for_two_parties_is_refused(signers: dict[str, Signer]) -> None:
    keys = Keys(signers)
    same = key_of(signers["carol"], keys.context, keys.own["anne"])
    keys.refused("fresh_keys", [*keys.signed[:2], same])


def test_nobody_has_a_part_that_reads_another() -> None:
    for parts, why in (
        ({"holders": ("bob", "bob")}, "not three"),
        ({"provider": "bob"}, "not three"),
        ({"provider": "anne"}, "not three"),
        ({"holders": ("bob", "bob"), "provider": "bob", "owner": "dora"}, "not three"),
        ({"owner": "carol"}, "no messages"),
    ):
        with pytest.raises(ValueError, match=why):
            context_of(**parts)
    for owner in ("bob", "anne", "dora"):
        context = context_of(owner=owner)
        assert SealedContext.unpack(context.pack()) == context


def test_a_session_has_four_parties_and_messages_of_bounded_size() -> None:
    assert MAX_PARTIES == 4
    assert (SealedContext.max_bytes, TAG_BYTES) == (1024, 16)
    assert SealedKey.max_bytes == 4096 + 1024 + 256


def test_secrets_are_what_two_have_in_common_bound_to_everybodys_keys(
    signers: dict[str, Signer],
) -> None:
    keys = Keys(signers)
    found = {name: common_secrets(own, keys.signed, keys.read()) for name, own in keys.own.items()}
    for one in found:
        for other in found:
            assert found[one][other] == found[other][one]
    assert len({found[one][other] for one in found for other in found}) == 3 + 3
    turned = common_secrets(keys.own["bob"], keys.signed[::-1], keys.read())
    assert all(turned[name] != found["bob"][name] for name in turned)
    assert list(found["bob"]) == ["anne", "bob", "carol"]


SECRET = bytes(range(32))


def seals() -> tuple[Seal, Seal]:
    """Of bob and of anne, who have one secret in common."""
    return (Seal("bob", {"anne": SECRET, "bob": bytes(32)}), Seal("anne", {"bob": SECRET}))


def test_what_is_sealed_is_chacha20_poly1305_with_a_key_for_each_direction_and_purpose() -> None:
    bob, anne = seals()
    info = b"fedsms secure aggregation 1\0" + msgpack.packb(("triple", "bob", "anne"))
    cipher = ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(SECRET))
    about = ("mul", (1, 2))
    for number in range(3):
        sealed = bob.seal("anne", "triple", about, b"some shares")
        nonce = number.to_bytes(12, "big")
        assert sealed == cipher.encrypt(nonce, b"some shares", msgpack.packb(about))
        assert len(sealed) == len(b"some shares") + 16
        assert anne.open("bob", "triple", about, sealed) == b"some shares"


def test_what_is_sealed_is_opened_in_its_order_and_once() -> None:
    bob, anne = seals()
    first, second, third = (bob.seal("anne", "x", (), bytes([one])) for one in range(3))
    with pytest.raises(Unreadable, match="not what bob sealed next"):
        anne.open("bob", "x", (), second)
    assert anne.open("bob", "x", (), first) == b"\0"  # a failure passes nothing over
    with pytest.raises(Unreadable):
        anne.open("bob", "x", (), first)
    with pytest.raises(Unreadable):
        anne.open("bob", "x", (), third)
    assert anne.open("bob", "x", (), second) == b"\1"
    assert anne.open("bob", "x", (), third) == b"\2"


def test_each_purpose_and_each_direction_is_counted_by_itself() -> None:
    bob, anne = seals()
    for _ in range(3):
        bob.seal("anne", "x", (), b"lost")
    assert anne.open("bob", "y", (), bob.seal("anne", "y", (), b"one")) == b"one"
    assert bob.open("anne", "x", (), anne.seal("bob", "x", (), b"two")) == b"two"
    assert bob.open("bob", "x", (), bob.seal("bob", "x", (), b"three")) == b"three"


@pytest.mark.parametrize(
    "wrongly",
    [
        lambda anne, sealed: anne.open("bob", "y", (1,), sealed),
        lambda anne, sealed: anne.open("bob", "x", (2,), sealed),
        lambda anne, sealed: anne.open("bob", "x", (1,), sealed[:-1]),
        lambda anne, sealed: anne.open("bob", "x", (1,), b""),
        lambda anne, sealed: anne.open("bob", "x", (1,), bytes([sealed[0] ^ 1]) + sealed[1:]),
        lambda anne, sealed: anne.open("carol", "x", (1,), sealed),
        lambda anne, sealed: seals()[0].open("anne", "x", (1,), sealed),  # back to its sender
    ],
)
def test_what_is_sealed_is_opened_by_its_receiver_for_just_this(
    wrongly: Callable[[Seal, bytes], bytes],
) -> None:
    bob, anne = seals()
    sealed = bob.seal("anne", "x", (1,), b"data")
    with pytest.raises(Unreadable):
        wrongly(anne, sealed)
    assert anne.open("bob", "x", (1,), sealed) == b"data"


def test_who_has_no_part_is_sealed_for_by_nobody() -> None:
    bob, anne = seals()
    attempts: list[Callable[[], bytes]] = [
        lambda: bob.seal("mallory", "x", (), b""),
        lambda: bob.open("mallory", "x", (), b""),
        lambda: anne.seal("anne", "x", (), b""),  # of whose own secret she was told none
    ]
    for attempt in attempts:
        with pytest.raises(Unreadable, match="has no part in this session"):
            attempt()
