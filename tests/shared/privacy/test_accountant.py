"""Epsilon, delta and mu of Gaussian releases, beside Google's accountant."""

from __future__ import annotations

import math

import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from hypothesis import given
from hypothesis import strategies as st

from shared.privacy.accountant import MOST_MU, delta_of, epsilon_of, mu_of

epsilons = st.floats(0.01, 64)
deltas = st.floats(1e-12, 1e-2)


@pytest.mark.parametrize(("deviation", "releases"), [(10.0, 30), (4.65, 60), (20.4, 30), (1.0, 1)])
@pytest.mark.parametrize("delta", [1e-5, 1e-8])
def test_googles_accountant_comes_to_the_same_from_above(
    deviation: float, releases: int, delta: float
) -> None:
    one = from_gaussian_mechanism(deviation, value_discretization_interval=1e-4)
    theirs = one.self_compose(releases).get_epsilon_for_delta(delta)
    ours = epsilon_of(math.sqrt(releases) / deviation, delta)
    assert ours <= theirs * (1 + 1e-9)
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_runs_of_different_recipes_add_up_as_googles_accountant_has_them() -> None:
    strict, loose = (from_gaussian_mechanism(one) for one in (20.0, 6.0))
    theirs = strict.self_compose(30).compose(loose.self_compose(60)).get_epsilon_for_delta(1e-5)
    mu = math.hypot(math.sqrt(30) / 20.0, math.sqrt(60) / 6.0)
    assert epsilon_of(mu, 1e-5) == pytest.approx(theirs, rel=1e-3)


@given(epsilons, deltas)
def test_mu_is_the_largest_that_an_epsilon_allows(epsilon: float, delta: float) -> None:
    mu = mu_of(epsilon, delta)
    assert delta_of(epsilon, mu) <= delta
    assert epsilon_of(mu, delta) <= epsilon * (1 + 1e-9)
    assert delta_of(epsilon, mu * 1.001) > delta


@given(st.floats(1e-3, MOST_MU), st.floats(1e-3, MOST_MU), deltas)
def test_more_told_is_more_epsilon(one: float, other: float, delta: float) -> None:
    low, high = sorted([one, other])
    assert epsilon_of(low, delta) <= epsilon_of(high, delta) * (1 + 1e-9)
    both = epsilon_of(math.hypot(one, other), delta)
    assert both >= epsilon_of(high, delta) * (1 - 1e-9)


@given(st.floats(0, 700), st.floats(1e-3, MOST_MU))
def test_a_delta_is_never_below_0_nor_beyond_1(epsilon: float, mu: float) -> None:
    assert 0 <= delta_of(epsilon, mu) <= 1


def test_nothing_told_is_no_epsilon_and_too_much_has_none() -> None:
    assert epsilon_of(0.0, 1e-5) == 0.0
    assert epsilon_of(1e-9, 1e-5) == 0.0
    assert epsilon_of(MOST_MU * 1.01, 1e-5) == math.inf
