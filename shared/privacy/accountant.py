"""What Gaussian releases tell of a message, all together: (epsilon, delta), exactly.

A node tells nothing but sums over all of its rows with Gaussian noise. Such a release is
mu-Gaussian differentially private, with mu the sensitivity divided by the noise's standard
deviation; any number of them, each chosen by what the ones before told, are together so with the
root of the summed squares (Dong, Roth and Su, Gaussian Differential Privacy, JRSS B 84 (2022),
corollary 3.3). What that is in epsilon and delta is known in closed form and tight (Balle and Wang,
Improving the Gaussian Mechanism, ICML 2018, theorem 8). So no numerical accountant is needed: it
would come to the same figures, from above. tests/shared/privacy/test_accountant.py has one beside
it.
"""

from __future__ import annotations

import math

MOST_MU = 64.0
"""A release that tells more bounds nothing."""
_STEPS = 200  # of a bisection; more change no bit
_FAR = 25.0  # standard deviations from where on a tail is bounded instead of computed


def delta_of(epsilon: float, mu: float) -> float:
    """The delta at which a release with `mu` above 0 is (epsilon, delta)-private; never below."""
    reach, drop = mu / 2 + epsilon / mu, mu / 2 - epsilon / mu
    return max(0.0, _below(drop) - _weighted(epsilon, reach, drop))


def _below(z: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _weighted(epsilon: float, reach: float, drop: float) -> float:
    """e^epsilon times the normal tail beyond `reach`, from below."""
    if reach < _FAR:
        return math.exp(epsilon) * _below(-reach)
    # a tail is more than its density times z / (z^2 + 1); and e^epsilon moves reach to drop
    density = math.exp(-drop * drop / 2) / math.sqrt(2 * math.pi)
    return density * reach / (reach * reach + 1)


def epsilon_of(mu: float, delta: float) -> float:
    """The epsilon of a release at `delta`, 0 to infinity; never too small by more than rounding.

    Args:
        mu: 0 tells nothing.
    """
    if mu > MOST_MU:
        return math.inf
    if mu <= 0 or delta_of(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, mu * mu / 2 + 10 * mu * math.sqrt(-2 * math.log(delta))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > delta else (low, middle)
    return high


def mu_of(epsilon: float, delta: float) -> float:
    """The largest mu that is (epsilon, delta)-private; never too large by more than rounding."""
    low, high = 0.0, MOST_MU
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(epsilon, middle) <= delta else (low, middle)
    return low
