"""Numbers for secret sharing: their bounds, their evenness, and that no seed leads to them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from shared.pointers import field_numbers
from shared.pointers.field_numbers import bits, uniform
from shared.pysyft import make_hook, sy

LOW, HIGH = -(2**63), 2**63 - 1
SPANS = [(-33, 33), (0, 0), (0, 1), (LOW, HIGH), (LOW, HIGH - 1), (LOW, 2**62), (-5, 2**63 - 1)]


@pytest.mark.parametrize(("low", "high"), SPANS)
def test_numbers_stay_within_their_bounds(low: int, high: int) -> None:
    found = uniform((50, 40), low, high)
    assert found.shape == (50, 40)
    assert found.dtype == np.int64
    assert low <= int(found.min())
    assert int(found.max()) <= high


def test_each_number_of_a_field_is_as_likely() -> None:
    counts = np.unique(uniform((134_000,), -33, 33), return_counts=True)[1]
    assert counts.size == 67
    expected = 134_000 / 67
    assert ((counts - expected) ** 2 / expected).sum() < 140  # chi squared of 66: 1 in 2 million


def test_numbers_beyond_the_last_whole_multiple_are_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = iter([np.array([2**64 - 1, 7], np.uint64), np.array([9], np.uint64)])
    monkeypatch.setattr(field_numbers, "_words", lambda count: next(drawn))
    # of 10 numbers, those from 2**64 - 6 on would make 0 to 5 likelier
    assert uniform((2,), 0, 9).tolist() == [9, 7]


def test_one_number_has_no_dimension() -> None:
    assert uniform((), LOW, HIGH).shape == ()
    assert uniform((0, 3), LOW, HIGH).shape == (0, 3)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (LOW - 1, 0), (0, HIGH + 1)])
def test_bounds_that_are_none(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="no int64 numbers"):
        uniform((1,), low, high)


@pytest.mark.parametrize("number", [0, 1, -1, 5, LOW, HIGH])
def test_bits_are_those_of_twos_complement(number: int) -> None:
    found = bits(np.array([number]))
    assert found.shape == (1, 64)
    assert found[0].tolist() == [number >> place & 1 for place in range(64)]


def test_shares_do_not_follow_from_a_seed() -> None:
    make_hook()
    sharing = sy.AdditiveSharingTensor(dtype="long")
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        np.random.seed(1)  # the generator that others would seed
        random.seed(1)
        drawn.append(sharing.generate_shares(torch.tensor([5] * 8), 3, torch.int64))
    assert not any(torch.equal(*both) for both in zip(*drawn, strict=True))
    assert [int(one) for one in sum(drawn[0])] == [5] * 8


@pytest.mark.parametrize(("dtype", "field"), [("long", 2**64), ("int", 2**32), ("custom", 67)])
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_shares_sum_to_their_secret(dtype: str, field: int, workers: int) -> None:
    make_hook()
    sharing = sy.AdditiveSharingTensor(dtype=dtype, field=field)
    secret = torch.tensor([0, 7, -20, 30])
    kind = torch.int64 if dtype == "long" else torch.int32
    shares = sharing.generate_shares(secret, workers, kind)
    assert len(shares) == workers
    assert [
        (int(one) - int(two)) % field for one, two in zip(sum(shares), secret, strict=True)
    ] == [0] * 4
