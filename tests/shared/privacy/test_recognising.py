"""Where guessing ends: Smirnov's bound by hand, at the last advantage below it and the next."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.privacy.recognising import Recognised, auc, recognised


@pytest.mark.parametrize(("there", "decoys"), [(100, 100), (500, 120), (90, 1000)])
def test_an_advantage_is_chance_up_to_what_guessing_reaches_once_in_ten_thousand_times(
    there: int, decoys: int
) -> None:
    # P(D > x) is about exp(-2 x^2 n m / (n + m))
    bound = math.sqrt(math.log(10_000) * (there + decoys) / (2 * there * decoys))
    last = math.floor(bound * there)
    assert Recognised(last, there, 0, decoys, 0.5).is_chance
    assert not Recognised(last + 1, there, 0, decoys, 0.5).is_chance
    # what others are taken for as well is taken off
    assert Recognised(last + 1, there, 1 + decoys // there, decoys, 0.5).is_chance


def test_of_one_all_must_be_found_and_no_more_than_one_other_in_a_hundred() -> None:
    assert not Recognised(1, 1, 0, 100, 1.0).is_chance
    assert not Recognised(1, 1, 1, 100, 1.0).is_chance
    assert Recognised(1, 1, 2, 100, 1.0).is_chance
    assert Recognised(0, 1, 0, 100, 0.5).is_chance


def test_what_chance_was_seen_to_reach_counts_where_it_is_more() -> None:
    assert not Recognised(60, 100, 0, 100, 0.9).is_chance
    assert Recognised(60, 100, 0, 100, 0.9, by_chance=0.6).is_chance
    assert not Recognised(61, 100, 0, 100, 0.9, by_chance=0.6).is_chance
    # never less than Smirnov's
    assert Recognised(30, 100, 0, 100, 0.9, by_chance=0.1).is_chance


@pytest.mark.parametrize("seed", range(20))
def test_the_best_threshold_is_found_among_all(seed: int) -> None:
    draw = np.random.default_rng(seed)
    there = draw.integers(0, 6, 7) + 0.5 * draw.integers(0, 2)
    others = draw.integers(0, 6, 5).astype(float)
    found = recognised(there, others)
    best = max(
        sum(one >= at for one in there) / 7 - sum(one >= at for one in others) / 5
        for at in [*there, *others]
    )
    assert found.advantage == pytest.approx(best)
    assert (found.of, found.decoys, found.by_chance) == (7, 5, 0.0)
    assert any(
        (found.found, found.false_alarms)
        == (sum(one >= at for one in there), sum(one >= at for one in others))
        for at in [*there, *others]
    )
    wins = sum((one > other) + (one == other) / 2 for one in there for other in others)
    assert found.auc == auc(there, others) == pytest.approx(wins / 35)
