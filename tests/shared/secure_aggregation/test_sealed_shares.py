"""Shares in their envelopes: what opens them, and everything else that does not."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.secure_aggregation.sealed_shares import (
    Shares,
    UnreadableShares,
    deal,
    open_secret,
    seal,
    unseal,
)

DOMAIN = b"fedsms secure aggregation 1\0"
PRIME = 2**256 + 297
SEED, KEY = bytes(range(32)), bytes(range(100, 132))
COMMON, ROSTER = b"c" * 32, b"r" * 32


def hashed(data: bytes) -> bytes:
    return hashlib.sha256(DOMAIN + data).digest()


def share(number: int) -> bytes:
    return number.to_bytes(33, "big")


GOOD = Shares(share(5), share(7))


def cipher(common: bytes = COMMON, dealer: str = "anne", holder: str = "bob") -> ChaCha20Poly1305:
    info = DOMAIN + msgpack.packb(("shares", ROSTER, dealer, holder))
    return ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(common))


@pytest.mark.parametrize("which", ["seed", "key"])
def test_any_so_many_holders_open_a_secret_and_fewer_open_another(which: str) -> None:
    shares = deal(SEED, KEY, 3, 5)
    assert {len(part) for one in shares for part in (one.seed, one.key)} == {33}
    secret = SEED if which == "seed" else KEY
    told = {place: getattr(one, which) for place, one in enumerate(shares, start=1)}
    for places in itertools.combinations(told, 3):
        assert open_secret({place: told[place] for place in places}) == secret
    for few in itertools.combinations(told, 2):
        assert open_secret({place: told[place] for place in few}) != secret


@pytest.mark.parametrize("secret", [0, 1, 2**255, 2**256 - 1])
def test_every_secret_of_32_bytes_is_opened_and_a_larger_number_is_none(secret: int) -> None:
    data = secret.to_bytes(32, "big")
    (only,) = deal(data, KEY, 1, 1)
    assert open_secret({1: only.seed}) == data
    for number in (2**256, 2**256 + 1, PRIME - 1):
        assert open_secret({1: share(number)}) is None


def test_an_envelope_says_whose_it_is_and_is_sealed_as_the_rfc_has_it() -> None:
    found = seal(GOOD, COMMON, ROSTER, "anne", "bob")
    assert found.model_dump() == {
        "roster": ROSTER,
        "dealer": "anne",
        "holder": "bob",
        "seed_hash": hashed(GOOD.seed),
        "key_hash": hashed(GOOD.key),
        "sealed": cipher().encrypt(bytes(12), GOOD.seed + GOOD.key, None),
    }
    assert unseal(found, COMMON) == GOOD


@pytest.mark.parametrize(
    "changed",
    [
        {"roster": b"x" * 32},
        {"dealer": "carol"},
        {"holder": "carol"},
        {"dealer": "bob", "holder": "anne"},
        {"sealed": b""},
        {"sealed": bytes(82)},
    ],
)
def test_an_envelope_of_others_is_not_unsealed(changed: dict[str, Any]) -> None:
    found = seal(GOOD, COMMON, ROSTER, "anne", "bob")
    with pytest.raises(UnreadableShares, match="cannot be unsealed"):
        unseal(found.model_copy(update=changed), COMMON)
    with pytest.raises(UnreadableShares, match="cannot be unsealed"):
        unseal(found, b"d" * 32)


def envelope(seed: bytes, key: bytes, **changed: bytes) -> Any:
    """Well sealed, by a dealer who seals whatever it likes."""
    good = seal(GOOD, COMMON, ROSTER, "anne", "bob")
    told = {
        "sealed": cipher().encrypt(bytes(12), seed + key, None),
        "seed_hash": hashed(seed),
        "key_hash": hashed(key),
    }
    return good.model_copy(update={**told, **changed})


@pytest.mark.parametrize("which", ["seed_hash", "key_hash"])
def test_shares_are_those_of_their_digests(which: str) -> None:
    unseal(envelope(GOOD.seed, GOOD.key), COMMON)
    with pytest.raises(UnreadableShares, match="not those of the envelope"):
        unseal(envelope(GOOD.seed, GOOD.key, **{which: bytes(32)}), COMMON)


@pytest.mark.parametrize("place", [0, 1])
def test_shares_are_numbers_of_the_field(place: int) -> None:
    for number, is_good in ((PRIME - 1, True), (PRIME, False), (2**264 - 1, False)):
        parts = [share(5), share(5)]
        parts[place] = share(number)
        if is_good:
            assert unseal(envelope(*parts), COMMON) == Shares(*parts)
            continue
        with pytest.raises(UnreadableShares, match="no numbers of the field"):
            unseal(envelope(*parts), COMMON)


@pytest.mark.parametrize("length", [0, 1, 32, 34])
def test_shares_are_of_33_bytes_each(length: int) -> None:
    with pytest.raises(UnreadableShares, match="no numbers of the field"):
        unseal(envelope(share(5), share(5)[:length] + bytes(max(0, length - 33))), COMMON)
