"""The grid and its mean against Python's fractions, and every bound at its number."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.secure_aggregation.fixed_point import (
    MAX_ROWS,
    PIECE_BITS,
    PIECES,
    decode,
    encode,
    mean,
    reach_of,
    unit_of,
)
from shared.secure_aggregation.masks import pair_sign
from shared.secure_aggregation.shamir import SHARE_BYTES, split

places = st.integers(-(2**61), 2**61)


def test_the_grid_is_that_of_the_protocol() -> None:
    assert [Fraction(unit_of(piece)) for piece in range(PIECES)] == [
        Fraction(2) ** -36,
        Fraction(2) ** 9,
        Fraction(2) ** 54,
    ]
    assert (MAX_ROWS, PIECE_BITS) == (2**29 - 1, 45)


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, PIECES - 1), places), st.integers(1, 10**9))
def test_a_mean_is_the_sum_of_its_places_over_the_weight(
    pieces: dict[int, int], weight: int
) -> None:
    given_pieces = {number: np.array([value], np.int64) for number, value in pieces.items()}
    exact = sum(
        (Fraction(value) * Fraction(unit_of(number)) for number, value in pieces.items()),
        Fraction(0),
    )
    found = Fraction(float(mean(given_pieces, 1, weight)[0]))
    # a float32's rounding and three of a double's, relative to the largest place
    largest = max((abs(v) * Fraction(unit_of(n)) for n, v in pieces.items()), default=Fraction(0))
    allowed = (abs(exact) * Fraction(2) ** -24 + largest * Fraction(2) ** -50) / weight
    assert abs(found - exact / weight) <= allowed + Fraction(2) ** -149


def test_a_mean_does_not_tell_of_what_its_sum_was_made() -> None:
    """The same whole number in other places, also where they cancel."""
    whole = (3 << PIECE_BITS) - 7
    ways = [
        {0: whole},
        {0: -7, 1: 3},
        {0: -7 - (5 << PIECE_BITS), 1: 8},
        {0: -7, 1: 3 - (1 << PIECE_BITS), 2: 1},
    ]
    found = {
        mean({n: np.array([v], np.int64) for n, v in way.items()}, 1, 3).tobytes() for way in ways
    }
    assert len(found) == 1
    expected = np.float32(float(Fraction(whole, 3) * Fraction(2) ** -36))
    assert found == {np.array([expected]).tobytes()}


def test_numbers_times_rows_are_taken_up_to_the_ring_whatever_their_sign() -> None:
    below = np.nextafter(np.float32(2.0**26), np.float32(0))
    for value in (below, -below):
        found = int(encode(np.array([value], np.float32), 1).view(np.int64)[0])
        assert found == int(Fraction(float(value)) * 2**36)
        with pytest.raises(ValueError, match=r"are not finite, or reach 6\.71089e\+07"):
            encode(np.array([np.float32(np.sign(value) * 2.0**26)], np.float32), 1)
    assert int(encode(np.ones(1, np.float32), 5)[0]) == 5 * 2**36
    assert encode(np.full(2, 2.0**-20, np.float32), MAX_ROWS).tolist() == [MAX_ROWS * 2**16] * 2
    assert encode(np.zeros(0, np.float32), 1).tolist() == []
    for rows in (0, MAX_ROWS + 1):
        with pytest.raises(ValueError, match=f"a result has {rows} rows"):
            encode(np.zeros(1, np.float32), rows)


@pytest.mark.parametrize(
    ("largest", "reach"),
    [(0, 1), (1, 1), (2**20 - 1, 1), (2**20, 2), (5 * 2**20, 6), (2**61, 2**41 + 1)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_reach_is_above_the_largest_number_of_either_sign(
    largest: int, reach: int, sign: int
) -> None:
    for others in ([], [0], [sign * min(largest, 3)]):
        numbers = np.array([*others, sign * largest], np.int64)
        assert reach_of(numbers.view(np.uint64)) == reach
    assert reach_of(np.zeros(0, np.uint64)) == 1


def test_a_sum_is_read_up_to_the_reach_at_which_it_may_have_wrapped() -> None:
    total = np.array([-5, 7], np.int64).view(np.uint64)
    for reach in (0, 1, 2**42 - 1):
        assert decode(total, reach).tolist() == [-5, 7]
    for reach in (-1, 2**42, 2**62):
        with pytest.raises(ValueError, match=r"may reach 6\.71089e\+07"):
            decode(total, reach)


def test_of_two_owners_the_one_with_the_lower_id_adds() -> None:
    assert (pair_sign("anne", "bob"), pair_sign("bob", "anne")) == (1, -1)
    assert pair_sign("a", "aa") == 1


def test_a_share_has_33_bytes_and_no_more_are_dealt_than_the_field_has_places() -> None:
    assert SHARE_BYTES == 33
    assert len(split(3, 2, 6, 7)) == 6
    with pytest.raises(ValueError, match="no such sharing"):
        split(3, 2, 7, 7)
