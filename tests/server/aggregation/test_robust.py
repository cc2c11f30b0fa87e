"""The robust rules: what a bad result does with and without them."""

from __future__ import annotations

import numpy as np
import pytest

from server.aggregation.aggregators import Aggregate
from server.aggregation.rules import make_aggregator
from shared.model.recipe import Aggregation, FederationRecipe
from shared.model.vectors import Vector
from shared.wire.commands import MAX_ROWS

BASE = np.linspace(-1, 1, 40_000, dtype=np.float32)
GOOD = BASE + np.float32(0.01)
NODES = [f"node-{number}" for number in range(10)]


def aggregate(rule: Aggregation, states: dict[str, Vector], order: int = 1) -> Aggregate:
    aggregator = make_aggregator(FederationRecipe(aggregation=rule), BASE)
    for node in list(states)[::order]:
        aggregator.add(node, states[node], rows=10)
    return aggregator.finish()


def with_noise() -> dict[str, Vector]:
    rng = np.random.default_rng(1)
    states = {node: GOOD + rng.normal(0, 0.001, 40_000).astype(np.float32) for node in NODES}
    return states | {"node-3": rng.normal(0, 5, 40_000).astype(np.float32)}


def error(found: Aggregate) -> float:
    return float(np.sqrt(np.mean((found.state - GOOD) ** 2)))


def test_one_node_of_ten_that_sends_noise_bends_the_plain_mean() -> None:
    assert error(aggregate("fedavg", with_noise())) > 0.4


@pytest.mark.parametrize("rule", ["norm-refuse", "trimmed-mean", "median"])
def test_a_robust_rule_is_hardly_bent(rule: Aggregation) -> None:
    assert error(aggregate(rule, with_noise())) < 0.001


def test_clipping_leaves_a_bad_update_no_longer_than_the_bound() -> None:
    found = aggregate("norm-clip", with_noise())
    # nine good updates and one of at most twice their length in any direction, averaged
    assert error(found) <= 0.3 * float(np.sqrt(np.mean((GOOD - BASE) ** 2)))
    assert found.refused == {}


def test_a_refused_node_is_named_with_its_reason() -> None:
    refused = aggregate("norm-refuse", with_noise()).refused
    assert list(refused) == ["node-3"]
    assert "times the cohort's median" in refused["node-3"]


@pytest.mark.parametrize("rule", ["fedavg", "norm-clip", "norm-refuse", "trimmed-mean", "median"])
def test_no_rule_depends_on_who_answered_first_or_changes_what_it_got(rule: Aggregation) -> None:
    states = with_noise()
    before = {node: state.copy() for node, state in states.items()}
    one, other = aggregate(rule, states), aggregate(rule, states, order=-1)
    assert one.state.tobytes() == other.state.tobytes()
    assert one.state.dtype == np.float32
    assert all(np.array_equal(states[node], before[node]) for node in states)


@pytest.mark.parametrize("rule", ["fedavg", "norm-clip", "norm-refuse", "trimmed-mean", "median"])
def test_every_rule_gives_a_cohort_of_one_back_what_it_sent(rule: Aggregation) -> None:
    assert aggregate(rule, {"anne": GOOD}).state.tobytes() == GOOD.tobytes()


def test_the_trimmed_mean_cuts_its_share_at_both_ends() -> None:
    values = [-100.0, 1.0, 2.0, 3.0, 100.0]
    states = {f"n{place}": np.full_like(BASE, value) for place, value in enumerate(values)}
    found = aggregate("trimmed-mean", states).state
    assert np.all(found == 2.0)


@pytest.mark.parametrize("rule", ["fedavg", "median"])
def test_a_result_that_cannot_be_one_is_refused_before_it_counts(rule: Aggregation) -> None:
    aggregator = make_aggregator(FederationRecipe(aggregation=rule), BASE)
    aggregator.add("anne", GOOD, 10)
    for wrong in (np.full_like(BASE, np.nan), np.zeros(3, np.float32)):
        with pytest.raises(ValueError, match="a result"):
            aggregator.add("mallory", wrong, 10)
    assert np.array_equal(aggregator.finish().state, GOOD)


@pytest.mark.parametrize("rule", ["trimmed-mean", "median"])
def test_no_rule_that_does_not_weigh_sees_a_claim(rule: Aggregation) -> None:
    base, moved = np.zeros(8, np.float32), np.ones(8, np.float32)
    found = []
    for claim in (10, MAX_ROWS):
        aggregator = make_aggregator(FederationRecipe(aggregation=rule), base)
        for number in range(4):
            aggregator.add(f"node-{number}", moved * number, claim if number == 3 else 10)
        found.append(aggregator.finish().state.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("rule", ["fedavg", "norm-clip", "norm-refuse", "trimmed-mean", "median"])
def test_a_round_without_results_has_no_model(rule: Aggregation) -> None:
    with pytest.raises(ValueError, match="there are no results to aggregate"):
        make_aggregator(FederationRecipe(aggregation=rule), BASE).finish()
