"""Secret sharing: the published example, any choice of enough shares, and nothing from fewer."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.secure_aggregation.shamir import PRIME, SHARE_BYTES, combine, evaluate, split

secrets = st.integers(0, 2**256 - 1)


def test_the_published_example() -> None:
    """Wikipedia, "Shamir's secret sharing": 1234 among six, of whom any three have it, mod 1613."""
    shares = [evaluate([1234, 166, 94], place, 1613) for place in range(1, 7)]
    assert shares == [1494, 329, 965, 176, 1188, 775]
    for places in combinations(range(1, 7), 3):
        assert combine({place: shares[place - 1] for place in places}, 1613) == 1234


def test_the_field_is_one_and_holds_every_secret() -> None:
    assert all(pow(base, PRIME - 1, PRIME) == 1 for base in (2, 3, 5, 7, 11, 13, 17))
    assert PRIME > 2**256
    assert (PRIME - 1).bit_length() <= 8 * SHARE_BYTES


@settings(deadline=None)
@given(st.data(), secrets, st.integers(1, 100))
def test_any_choice_of_enough_shares_gives_the_secret(
    data: st.DataObject, secret: int, count: int
) -> None:
    threshold = data.draw(st.integers(1, count))
    shares = dict(enumerate(split(secret, threshold, count), 1))
    chosen = data.draw(st.permutations(sorted(shares)))[:threshold]
    assert combine({place: shares[place] for place in chosen}) == secret


@settings(deadline=None)
@given(secrets, st.integers(2, 40))
def test_a_share_too_few_gives_something_else(secret: int, threshold: int) -> None:
    shares = dict(enumerate(split(secret, threshold, threshold), 1))
    del shares[threshold]
    assert combine(shares) != secret  # equal once in 2^256


@pytest.mark.parametrize("secret", [0, 1, 6])
def test_fewer_shares_than_the_threshold_are_the_same_for_every_secret(secret: int) -> None:
    """Over 7 elements all polynomials can be counted: each pair of shares comes equally often."""
    seen = Counter(
        (evaluate([secret, one, other], 1, 7), evaluate([secret, one, other], 3, 7))
        for one, other in product(range(7), repeat=2)
    )
    assert set(seen.values()) == {1}
    assert len(seen) == 49


def test_two_sharings_of_one_secret_have_nothing_in_common() -> None:
    assert not set(split(5, 3, 50)) & set(split(5, 3, 50))


@pytest.mark.parametrize(("secret", "threshold", "count"), [(0, 0, 3), (0, 4, 3), (PRIME, 2, 3)])
def test_sharings_that_cannot_be_are_refused(secret: int, threshold: int, count: int) -> None:
    with pytest.raises(ValueError, match="no such sharing"):
        split(secret, threshold, count)
