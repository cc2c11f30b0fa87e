"""How few neighbours would do: chances as another library has them, and by trying."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from scripts.benchmarks.neighbours import fewest_neighbours, is_rarer


@settings(deadline=None)
@given(st.integers(1, 200), st.data())
def test_a_chance_is_that_of_drawing_without_putting_back(of: int, data: st.DataObject) -> None:
    drawn, marked = data.draw(st.integers(0, of)), data.draw(st.integers(0, of))
    least = data.draw(st.integers(-1, of + 1))
    chance = float(hypergeom(of, marked, drawn).sf(least - 1))
    for bits in (0, 1, 10, 40):
        if abs(chance * 3 - 2.0**-bits) > 1e-9 * 2.0**-bits:
            assert is_rarer(drawn, marked, of, least, 3, bits) == (chance * 3 < 2.0**-bits)


def test_a_chance_is_that_of_all_draws_counted() -> None:
    draws = list(combinations(range(9), 4))
    found = sum(len({0, 1, 2} & set(draw)) >= 2 for draw in draws)
    assert len(draws) == comb(9, 4) == 126
    assert found == 51
    assert is_rarer(4, 3, 9, 2, 126, 0) is False
    assert is_rarer(4, 3, 9, 2, 1, 1) is (51 * 2 <= 126)


@pytest.mark.parametrize(
    ("owners", "helping", "lost"), [(100, 33, 33), (100, 33, 5), (100, 10, 10), (300, 60, 60)]
)
def test_a_ring_holds_and_a_smaller_one_does_not(owners: int, helping: int, lost: int) -> None:
    found = fewest_neighbours(owners, helping, lost)
    assert found is not None

    def holds(k: int, t: int) -> bool:
        opened = owners * hypergeom(owners - 1, helping, k).sf(t - 1)
        cut = comb(owners, 2) * hypergeom(owners, helping, k).sf(k - lost - 1)
        spoiled = owners * hypergeom(owners - 1, lost, k).sf(k - t)
        return bool(max(opened, cut) <= 2.0**-80 and spoiled <= 2.0**-30)

    assert holds(found.neighbours, found.threshold)
    smaller = found.neighbours - 2
    assert not any(holds(smaller, t) for t in range(smaller + 1))


def test_where_most_may_help_or_be_lost_only_the_complete_graph_does() -> None:
    assert fewest_neighbours(10, 5, 5) is None
    assert fewest_neighbours(3, 1, 1) is None


def test_of_a_hundred_a_ring_against_a_third_that_helps_needs_no_luck() -> None:
    """33 helpers are no 34, and 33 of 68 neighbours lost leave 35."""
    found = fewest_neighbours(100, 33, 33)
    assert found is not None
    assert (found.neighbours, found.threshold) == (68, 34)
    assert fewest_neighbours(100, 33, 33, secrecy=10_000, loss=10_000) == found
