"""Masks: the stream that they are said to be, even, and gone from a sum."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, ks_2samp

from shared.secure_aggregation.contents import encode_training
from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.masks import add_mask, pair_mask_key, pair_sign, self_mask_key
from shared.secure_aggregation.messages import Masked
from tests.helpers.secure_sums import names, secure_sum

UNLIKELY = 1e-9
"""Chance that a test of even masks fails though they are even."""


def mask(key: bytes, size: int) -> Ring:
    numbers = np.zeros(size, np.uint64)
    add_mask(numbers, key, 1)
    return numbers


@pytest.mark.parametrize("size", [0, 1, 2, 16_383, 16_384, 16_385, 40_000])
def test_a_mask_is_the_aes_counter_stream_of_its_key(size: int) -> None:
    """Counter blocks encrypted one by one, as NIST SP 800-38D has those of a message."""
    key = secrets.token_bytes(32)
    blocks = b"".join(number.to_bytes(16, "big") for number in range(2, size // 2 + 3))
    stream = Cipher(AES(key), ECB()).encryptor().update(blocks)
    assert mask(key, size).tobytes() == stream[: 8 * size]


@settings(deadline=None)
@given(st.integers(0, 20_000), st.binary(min_size=32, max_size=32))
def test_what_is_added_can_be_subtracted(size: int, key: bytes) -> None:
    numbers = np.arange(size, dtype=np.uint64)
    add_mask(numbers, key, 1)
    add_mask(numbers, key, -1)
    assert numbers.tolist() == list(range(size))


def test_two_owners_derive_one_mask_with_opposite_signs() -> None:
    common = secrets.token_bytes(32)
    one = pair_mask_key(common, "anne", "bob", bytes(32))
    assert one == pair_mask_key(common, "bob", "anne", bytes(32))
    assert pair_sign("anne", "bob") == -pair_sign("bob", "anne")


def test_no_two_purposes_have_one_key() -> None:
    seed, one, other = secrets.token_bytes(32), bytes(32), bytes([1] * 32)
    keys = {
        self_mask_key(seed, "anne", one),
        self_mask_key(seed, "bob", one),
        self_mask_key(seed, "anne", other),
        pair_mask_key(seed, "anne", "bob", one),
        pair_mask_key(seed, "anne", "bob", other),
        pair_mask_key(seed, "anne", "carol", one),
    }
    assert len(keys) == 6


def masked_by(vector: Ring) -> Ring:
    """One owner's vector as it leaves, in a sum of three."""
    everybody = secure_sum(names(3), vectors=dict.fromkeys(names(3), vector))
    everybody.to_delivery()
    sent = Masked.unpack(everybody.owners["o00"].mask(vector), at_most=8 * vector.size + 128)
    return np.frombuffer(sent.numbers, "<u8")


def unevenness(values: npt.NDArray[Any], cells: int) -> float:
    """Chance of counts as uneven as these, or more, where all values are equally likely."""
    counts = np.bincount(values.ravel(), minlength=cells)
    expected = values.size / cells
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), cells - 1))


def test_a_masked_vector_of_zeros_is_even_in_every_byte_bit_and_pair_of_bytes() -> None:
    found = masked_by(np.zeros(200_000, np.uint64))
    octets = found.view(np.uint8).reshape(-1, 8)
    for place in range(8):
        assert unevenness(octets[:, place], 256) > UNLIKELY
    assert unevenness(found.view(np.uint16), 2**16) > UNLIKELY
    neighbours = found[1:] ^ found[:-1]
    assert unevenness(neighbours.view(np.uint8), 256) > UNLIKELY
    ones = np.unpackbits(octets, axis=1).sum(axis=0, dtype=np.int64)
    assert np.abs(ones - 100_000).max() < 7 * np.sqrt(50_000)  # of 64 places, at 7 deviations


def test_a_masked_vector_of_zeros_cannot_be_told_from_one_of_a_trained_model() -> None:
    rng = np.random.default_rng(0)
    trained = rng.normal(scale=0.1, size=100_000).astype(np.float32)
    model = encode_training(trained, 500, 0.3)
    of_model, of_zeros = masked_by(model), masked_by(np.zeros_like(model))
    assert differ(of_model, of_zeros) > UNLIKELY
    for vector in (of_model, of_zeros):
        assert unevenness(vector.view(np.uint16), 2**16) > UNLIKELY
        together = np.corrcoef(model.view(np.int64)[:-3], vector.view(np.int64)[:-3])[0, 1]
        assert abs(together) < 7 / np.sqrt(100_000)
    # the same tests see a vector without a mask
    assert differ(model, of_zeros) < UNLIKELY
    assert unevenness(model.view(np.uint16), 2**16) < UNLIKELY


def differ(one: Ring, other: Ring) -> float:
    """Chance of two samples as different as these, or more, from one distribution."""
    return float(ks_2samp(one.astype(np.float64), other.astype(np.float64)).pvalue)


def test_the_same_vector_never_leaves_as_the_same_bytes() -> None:
    vector = np.zeros(50, np.uint64)
    assert len({masked_by(vector).tobytes() for _ in range(5)}) == 5
