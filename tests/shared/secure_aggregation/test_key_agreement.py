"""X25519 and HKDF as their RFCs have them, sealed shares, and keys that everybody agrees with."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import pytest

from shared.secure_aggregation.canonical import DOMAIN
from shared.secure_aggregation.key_agreement import PrivateKey, check_order, derive
from shared.secure_aggregation.sealed_shares import (
    Shares,
    UnreadableShares,
    deal,
    open_secret,
    seal,
    unseal,
)
from shared.secure_aggregation.violation import Violation

P = 2**255 - 19
SMALL_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
]
"""Points of order 1, 2, 4 and 8, also unreduced (D. J. Bernstein, https://cr.yp.to/ecdh.html)."""


def test_the_example_of_rfc_7748() -> None:
    """Section 6.1."""
    alice = PrivateKey(
        bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    )
    bob = PrivateKey(
        bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    )
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    common = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert alice.agree(bob.public, "bob").hex() == common
    assert bob.agree(alice.public, "alice").hex() == common


@pytest.mark.parametrize("u", SMALL_ORDER)
@pytest.mark.parametrize("top_bit", [0, 2**255])
def test_a_public_key_of_small_order_is_refused(u: int, top_bit: int) -> None:
    public = (u | top_bit).to_bytes(32, "little")
    with pytest.raises(Violation, match="small order") as caught:
        check_order(public, "bob")
    assert caught.value.rule == "small_order"


@pytest.mark.parametrize("point", SMALL_ORDER)
@pytest.mark.parametrize("away", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("top_bit", [0, 2**255])
def test_a_public_key_is_refused_where_an_agreement_would_be_zero_and_nowhere_else(
    point: int, away: int, top_bit: int
) -> None:
    """The agreement is that of the library, which refuses a result of zeros."""
    public = ((point + away) % 2**255 | top_bit).to_bytes(32, "little")
    try:
        PrivateKey().agree(public, "bob")
    except Violation:
        with pytest.raises(Violation, match="small order"):
            check_order(public, "bob")
    else:
        check_order(public, "bob")


def test_a_third_does_not_agree() -> None:
    one, other, third = PrivateKey(), PrivateKey(), PrivateKey()
    assert one.agree(other.public, "other") != third.agree(other.public, "other")


def test_a_derived_key_is_hkdf_with_sha256() -> None:
    """RFC 5869, written out: extract with a salt of zeros, and one block of expand."""
    secret = secrets.token_bytes(32)
    info = DOMAIN + b"\x93\xa4mask\xc4\x02ab\xa3bob"
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    expected = hmac.digest(extracted, info + b"\x01", hashlib.sha256)
    assert derive(secret, "mask", b"ab", "bob") == expected


def test_sealed_shares_are_their_holders_alone() -> None:
    seed, key, common = (secrets.token_bytes(32) for _ in range(3))
    dealt = deal(seed, key, threshold=2, count=3)
    envelopes = [seal(shares, common, bytes(32), "anne", "bob") for shares in dealt]
    opened = [unseal(envelope, common) for envelope in envelopes]
    assert opened == dealt
    assert open_secret({1: opened[0].seed, 3: opened[2].seed}) == seed
    assert open_secret({2: opened[1].key, 3: opened[2].key}) == key
    with pytest.raises(UnreadableShares):
        unseal(envelopes[0], secrets.token_bytes(32))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("holder", "carol"),
        ("dealer", "carol"),
        ("roster", bytes([1] * 32)),
        ("seed_hash", bytes(32)),
        ("key_hash", bytes(32)),
        ("sealed", b""),
        ("sealed", bytes(82)),
    ],
)
def test_an_envelope_that_was_changed_is_unreadable(field: str, value: object) -> None:
    common = secrets.token_bytes(32)
    dealt = deal(bytes(32), bytes(32), threshold=2, count=2)
    envelope = seal(dealt[0], common, bytes(32), "anne", "bob")
    with pytest.raises(UnreadableShares):
        unseal(envelope.model_copy(update={field: value}), common)


@pytest.mark.parametrize(
    "shares",
    [Shares(b"", b""), Shares(bytes(33), bytes(34)), Shares(b"\xff" * 33, bytes(33))],
)
def test_shares_that_are_no_numbers_are_unreadable_however_well_sealed(shares: Shares) -> None:
    common = secrets.token_bytes(32)
    with pytest.raises(UnreadableShares):
        unseal(seal(shares, common, bytes(32), "anne", "bob"), common)
