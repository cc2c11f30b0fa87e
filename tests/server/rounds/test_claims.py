"""What a claim of rows may count for: examples, and laws over drawn claims."""

from __future__ import annotations

from statistics import median_high

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.claims import claim_words, counted_rows

MOST = 2**29 - 1
bounds = st.floats(1, 1e6)
ids = st.text("abcdefgh", min_size=1, max_size=3)
claims = st.dictionaries(ids, st.integers(0, MOST) | st.integers(0, 50), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"anne": 60, "bob": 140}, {"anne": 60, "bob": 140}),
        ({"anne": 2000, "mallory": 500_000_000}, {"anne": 2000, "mallory": 20_000}),
        ({"anne": 9, "bob": 8, "mallory": 500_000_000}, {"anne": 9, "bob": 8, "mallory": 90}),
        # few rows of one false node take nothing from two honest ones
        ({"anne": 2000, "bob": 1500, "mallory": 1}, {"anne": 2000, "bob": 1500, "mallory": 1}),
        ({"mallory": 500_000_000}, {"mallory": 500_000_000}),
        ({"anne": 0, "bob": 0, "carol": 7000}, {"anne": 0, "bob": 0, "carol": 7000}),
        ({"anne": 3, "bob": 31}, {"anne": 3, "bob": 30}),
    ],
)
def test_what_nodes_count_for(told: dict[str, int], counted: dict[str, int]) -> None:
    assert counted_rows(told, 10) == counted


def test_no_bound_bounds_nothing() -> None:
    told = {"anne": 1, "mallory": MOST}
    assert counted_rows(told, 0) == told


@given(claims, bounds)
def test_the_bound_is_the_upper_median_of_the_others_and_nobody_counts_for_more_than_it_claims(
    told: dict[str, int], bound: float
) -> None:
    for node, counted in counted_rows(told, bound).items():
        others = [rows for other, rows in told.items() if other != node and rows]
        most = int(bound * median_high(others)) if others else told[node]
        assert counted == min(told[node], most)


@given(claims, bounds, st.integers(1, MOST))
def test_no_claim_moves_its_own_bound(told: dict[str, int], bound: float, more: int) -> None:
    node = min(told)
    others = [rows for other, rows in told.items() if other != node and rows]
    if others:
        assert counted_rows({**told, node: more}, bound)[node] <= bound * median_high(others)


@given(claims, bounds, st.integers(0, MOST))
def test_a_higher_claim_takes_nothing_from_anybody(
    told: dict[str, int], bound: float, more: int
) -> None:
    """Who claims more does not lower what the others count for, and is not punished for it."""
    node = min(told)
    before = counted_rows(told, bound)
    if told[node]:
        after = counted_rows({**told, node: told[node] + more}, bound)
        assert all(after[other] >= rows for other, rows in before.items())


@given(st.lists(st.integers(100, 1000), min_size=1, max_size=9))
def test_owners_that_differ_up_to_tenfold_count_for_all_their_rows(rows: list[int]) -> None:
    told = {f"node-{number}": one for number, one in enumerate(rows)}
    assert counted_rows(told, 10) == told


@given(claims, bounds, st.randoms(use_true_random=False))
def test_nothing_depends_on_who_was_heard_first(
    told: dict[str, int], bound: float, random: object
) -> None:
    names = list(told)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert counted_rows({name: told[name] for name in names}, bound) == counted_rows(told, bound)


@given(st.lists(st.integers(1, 5000), min_size=3, max_size=9), st.integers(0, MOST))
def test_one_false_node_of_many_leaves_honest_ones_at_least_what_most_of_them_have(
    honest: list[int], claim: int
) -> None:
    """However it claims, an honest node counts for all its rows up to bound times the lower half's
    highest; a node that claims next to nothing moves the median by one place and no more."""
    told = {f"node-{number}": rows for number, rows in enumerate(honest)} | {"mallory": claim}
    counted = counted_rows(told, 10)
    for node in sorted(told):
        if node != "mallory":
            others = sorted(rows for other, rows in told.items() if other not in (node, "mallory"))
            assert counted[node] >= min(told[node], 10 * others[(len(others) - 1) // 2])


def test_the_words_name_the_claim_and_what_it_counts_for() -> None:
    words = claim_words(500_000_000, 20_000, 10)
    assert words == (
        "claims 500,000,000 rows and counts for 20,000, which is 10 times the median of the other "
        "nodes'"
    )
