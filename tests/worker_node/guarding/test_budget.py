"""The budget in figures, beside Google's accountant; and in the owner's words."""

from __future__ import annotations

import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

from worker_node.guarding.budget import Spent, spent, told_to
from worker_node.guarding.rules.terms import DifferentialPrivacyTerms
from worker_node.privacy.accounts import Accounts, Part, Reservation, Run, Terms

DELTA = 1e-6


def epsilon(mu: float) -> float:
    one = from_gaussian_mechanism(1 / mu, value_discretization_interval=1e-3)
    return float(one.get_epsilon_for_delta(DELTA))


def accounts(part: Part, *reservations: Reservation) -> Accounts:
    found = Accounts()
    for number, one in enumerate(reservations):
        found.runs[Run("hospital", f"run-{number}", part)] = one
    return found


def terms(**more: float) -> DifferentialPrivacyTerms:
    return DifferentialPrivacyTerms.model_validate({"delta": DELTA, **more})


def run_of(mu: float, alone: float, releases: int = 4) -> Reservation:
    return Reservation(Terms(releases, "r", mu, alone))


def near(value: float) -> object:
    return pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize("part", ["training", "held_out"])
def test_what_is_spent_and_left_are_the_epsilons_of_one_budget(part: Part) -> None:
    """0.3, 0.4 and 1.2 are together 1.3: their squares add up."""
    most = epsilon(1.3)
    bound = {"training": {"epsilon": most}, "held_out": {"epsilon": 9.0, "held_out_epsilon": most}}
    found = spent(accounts(part, run_of(0.3, 0.6), run_of(0.4, 0.8)), part, terms(**bound[part]))
    assert found.epsilon == near(epsilon(0.5))
    assert found.alone == near(epsilon(1.0))
    assert found.most == most
    assert found.left == near(epsilon(1.2))


def test_each_part_has_its_own_and_no_other() -> None:
    both = accounts("training", run_of(0.5, 0.5))
    wanted = terms(epsilon=4.0, held_out_epsilon=1.5)
    assert spent(both, "training", wanted).most == 4.0
    held_out = spent(both, "held_out", wanted)
    assert (held_out.epsilon, held_out.alone, held_out.most) == (0.0, 0.0, 1.5)
    assert held_out.left == near(1.5)


def test_more_than_all_leaves_nothing_and_a_part_that_allows_nothing_has_nothing_left() -> None:
    over = spent(accounts("training", run_of(3.0, 3.0)), "training", terms(epsilon=1.0))
    assert over.left == 0.0
    none = spent(Accounts(), "held_out", terms(epsilon=1.0, held_out_epsilon=0.0))
    assert (none.most, none.left) == (0.0, 0.0)


def test_without_a_bound_nothing_is_left_or_used_up() -> None:
    found = spent(accounts("training", run_of(0.5, 1.0)), "training", terms(epsilon=0.0))
    assert (found.most, found.left) == (None, None)
    assert found.epsilon == near(epsilon(0.5))
    assert found.alone == near(epsilon(1.0))


def test_it_is_told_in_words() -> None:
    assert Spent(1.5, 1.5, 8.0, 6.25).in_words(1e-5) == (
        "epsilon 1.50 of 8.00 is spent at delta 1e-05; a run of 6.25 still fits"
    )
    assert Spent(1.5, 2.0, None, None).in_words(1e-5) == (
        "epsilon 1.50 is spent at delta 1e-05, 2.00 towards all others together; no bound is set"
    )
    assert "; a run of 0.00 still fits" in Spent(0.0, 0.0, 0.0, 0.0).in_words(1e-5)


def test_a_run_counts_as_a_whole_until_it_is_over_and_then_for_what_it_asked() -> None:
    found = run_of(0.6, 1.2)
    found.charged = {1: "x"}
    which = Run("hospital", "run-1", "held_out")
    told = told_to(which, found, DELTA)
    assert (told.coordinator, told.run, told.part) == ("hospital", "run-1", "held_out")
    assert (told.releases, told.told, told.over) == (4, 1, False)
    assert told.epsilon == near(epsilon(0.6))
    assert told.epsilon_towards_all_others == near(epsilon(1.2))
    found.closed = True
    told = told_to(which, found, DELTA)  # a quarter of its releases: half of its mu
    assert told.over
    assert told.epsilon == near(epsilon(0.3))
    assert told.epsilon_towards_all_others == near(epsilon(0.6))
