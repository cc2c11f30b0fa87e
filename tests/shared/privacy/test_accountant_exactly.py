"""Epsilon, delta and mu of Gaussian releases, beside the same formula with a hundred digits."""

from __future__ import annotations

import math

import mpmath  # type: ignore[import-untyped]
import pytest

from shared.privacy.accountant import MOST_MU, delta_of, epsilon_of, mu_of


def exactly(epsilon: float, mu: float) -> mpmath.mpf:
    """Balle and Wang's theorem 8 with a hundred digits."""
    with mpmath.workdps(100):
        drop = mpmath.ncdf(mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu)
        reach = mpmath.ncdf(-mpmath.mpf(mu) / 2 - mpmath.mpf(epsilon) / mu)
        return drop - mpmath.exp(epsilon) * reach


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 5.0, 20.0, 49.9, 50.1, 60.0, 64.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0, 8.0, 64.0, 500.0, 2000.0])
def test_a_delta_is_that_of_a_hundred_digits_and_where_a_tail_is_bounded_never_below(
    epsilon: float, mu: float
) -> None:
    true, found = exactly(epsilon, mu), delta_of(epsilon, mu)
    reach = mu / 2 + epsilon / mu
    assert found >= true - 1e-14
    # a tail's bound is within 1 / z^2 of it
    slack = 1e-14 if reach < 25 else float(true + 1) / reach**2
    assert found <= true + slack


def test_so_much_may_a_release_tell_that_its_epsilon_is_known() -> None:
    assert MOST_MU == 64
    for mu in (20.0, 64.0):
        epsilon = epsilon_of(mu, 1e-5)
        assert exactly(epsilon, mu) == pytest.approx(1e-5, rel=1e-2)


@pytest.mark.parametrize("mu", [0.02, 0.1, 0.3, 1.0, 4.0, 20.0, 64.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 1e-2])
def test_an_epsilon_is_the_one_at_which_the_delta_is_reached_also_below_1(
    mu: float, delta: float
) -> None:
    epsilon = epsilon_of(mu, delta)
    if exactly(0.0, mu) <= delta:
        assert epsilon == 0.0
    else:
        assert exactly(epsilon, mu) == pytest.approx(delta, rel=2e-2)
        assert exactly(0.98 * epsilon, mu) > delta


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.5, 8.0, 64.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-5, 1e-2])
def test_a_mu_is_the_largest_at_which_the_delta_is_not_passed(epsilon: float, delta: float) -> None:
    mu = mu_of(epsilon, delta)
    assert exactly(epsilon, mu) == pytest.approx(delta, rel=1e-3)


def test_an_epsilon_is_0_up_to_the_very_delta_of_0() -> None:
    for mu in (1e-4, 0.3):
        delta = delta_of(0.0, mu)
        assert epsilon_of(mu, delta) == 0.0
        assert epsilon_of(mu, delta * (1 - 1e-3)) > 0.0


def test_up_to_the_largest_mu_there_is_an_epsilon() -> None:
    assert epsilon_of(MOST_MU, 1e-5) < math.inf
    assert epsilon_of(math.nextafter(MOST_MU, math.inf), 1e-5) == math.inf
    assert mu_of(1e6, 1e-2) == pytest.approx(MOST_MU)


@pytest.mark.parametrize("mu", [26.0, 40.0, 50.0, 64.0])
def test_a_bounded_tail_is_within_three_fourth_powers_of_its_distance(mu: float) -> None:
    """A tail beyond z is its density / z * (1 - 1/z^2 + 3/z^4 - ...); the bound has 1 for the 3."""
    epsilon = mu * mu / 2  # half of the releases lie below it, and the tail is e^epsilon as large
    tail = 0.5 - exactly(epsilon, mu)
    assert 0 <= delta_of(epsilon, mu) - exactly(epsilon, mu) < 3 * tail / mu**4
