"""Server optimisers against torch's own, and against the paper's formulas number by number."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from server.aggregation.rules import make_aggregator
from server.aggregation.server_optimizer import (
    MOMENTS,
    Moments,
    make_server_optimizer,
)
from shared.errors import FedsmsError
from shared.model.recipe import FederationRecipe, ServerOptimizerName
from shared.model.vectors import Vector

OPTIMIZERS = [name for name in get_args(ServerOptimizerName) if name != "none"]


def recipe_of(name: str, **values: Any) -> FederationRecipe:
    values = {f"server_{key}": value for key, value in values.items()}
    return FederationRecipe.model_validate({"server_optimizer": name, **values})


def means(rounds: int, size: int = 5, seed: int = 0) -> list[Vector]:
    """What the rounds' results would come to; the last number is one that nobody moves."""
    drawn = np.random.default_rng(seed).normal(size=(rounds, size)).astype(np.float32)
    drawn[:, -1] = 0.3
    return list(drawn)


def states(recipe: FederationRecipe, given: list[Vector], moments: Moments | None = None) -> Any:
    """Each state after a step towards a round's mean, from the first of them on; the moments."""
    optimizer = make_server_optimizer(recipe, moments)
    found = [given[0]]
    for mean in given[1:]:
        found.append(optimizer.step(found[-1], mean))
    return found[1:], optimizer.moments


def test_fedavgm_is_torchs_sgd_with_momentum_on_the_pseudo_gradient() -> None:
    given = means(9)
    found, _ = states(recipe_of("fedavgm", momentum=0.8, learning_rate=0.7), given)
    parameter = torch.nn.Parameter(torch.from_numpy(given[0]).double())
    reference = torch.optim.SGD([parameter], lr=0.7, momentum=0.8)
    for state, mean in zip(found, given[1:], strict=True):
        parameter.grad = parameter.detach() - torch.from_numpy(mean).double()
        reference.step()
        with torch.no_grad():  # a state is float32, at every round's end
            parameter.copy_(parameter.float().double())
        assert np.array_equal(state, parameter.detach().float().numpy())


def adaptive(name: str, state: list[float], given: list[Vector], b1: float, b2: float) -> Any:
    """Reddi et al. 2021, algorithm 2, line by line, on plain numbers; rate 0.05, tau 0.01."""
    first, second = [0.0] * len(state), [0.01**2] * len(state)
    for mean in given:
        for place, towards in enumerate(mean.tolist()):
            delta = towards - state[place]
            first[place] = b1 * first[place] + (1 - b1) * delta
            v = second[place]
            if name == "fedadam":
                second[place] = b2 * v + (1 - b2) * delta**2
            else:
                sign = (v > delta**2) - (v < delta**2)
                second[place] = v - (1 - b2) * delta**2 * sign
            moved = state[place] + 0.05 * first[place] / (math.sqrt(second[place]) + 0.01)
            state[place] = float(np.float32(moved))
    return state


@settings(deadline=None)
@given(
    st.sampled_from(["fedadam", "fedyogi"]),
    st.integers(2, 12),
    st.floats(0, 0.99),
    st.floats(0, 0.999),
    st.integers(0, 2**31),
)
def test_fedadam_and_fedyogi_are_the_papers_number_by_number(
    name: str, rounds: int, b1: float, b2: float, seed: int
) -> None:
    given = means(rounds, seed=seed)
    recipe = recipe_of(name, learning_rate=0.05, momentum=b1, beta2=b2, tau=0.01)
    found, _ = states(recipe, given)
    expected = adaptive(name, given[0].tolist(), given[1:], b1, b2)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-6, atol=1e-7)


# Of the five means above, after four steps from the first; as the bytes of float32. Plain Python
# gave them, number by number.
BITS = {
    "fedavgm": "ad9085bf2f6c99becf2bc4bfe347b03f9a99993e",
    "fedadam": "c7b4d63d0ca2c3bd84111e3ff2fd963d9a99993e",
    "fedyogi": "bef2d63d9fffc3bda61b1e3f1845973d9a99993e",
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_bit_of_an_optimiser_changes(name: str) -> None:
    rate = 1.0 if name == "fedavgm" else 0.01
    found, _ = states(recipe_of(name, learning_rate=rate, momentum=0.9), means(5))
    assert found[-1].tobytes().hex() == BITS[name]


def test_without_one_the_mean_is_the_next_state_to_the_bit() -> None:
    given = means(4)
    found, moments = states(recipe_of("none"), given)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in given[1:]]
    assert moments == {}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_that_goes_on_from_its_moments_ends_with_the_same_bits(name: str) -> None:
    given = means(10)
    recipe = recipe_of(name)
    whole, _ = states(recipe, given)
    before, moments = states(recipe, given[:5])
    kept = {key: value.copy() for key, value in moments.items()}
    after, _ = states(recipe, [before[-1], *given[5:]], moments)
    assert after[-1].tobytes() == whole[-1].tobytes()
    afresh, _ = states(recipe, [before[-1], *given[5:]])
    assert afresh[-1].tobytes() != whole[-1].tobytes()
    assert set(moments) == set(MOMENTS[name])  # type: ignore[index]
    assert all(np.array_equal(kept[key], moments[key]) for key in kept)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_number_that_nobody_moves_stays_and_one_that_was_moved_goes_on(name: str) -> None:
    """As the rows of a table do whose words nobody has, and those whose words went away."""
    base = np.array([0.3, 0.3, -1e-30], np.float32)
    optimizer = make_server_optimizer(recipe_of(name))
    moved = optimizer.step(base, base + np.array([0, 0.5, 0], np.float32))
    later = optimizer.step(moved, moved)
    assert later[[0, 2]].tobytes() == base[[0, 2]].tobytes()
    assert later[1] > moved[1] > base[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_order_of_results_changes_no_bit(name: str) -> None:
    results = {f"n{number}": (mean, 7 * number + 3) for number, mean in enumerate(means(8))}
    base = means(1, seed=9)[0]
    ends = set()
    for order in (sorted(results), sorted(results, reverse=True)):
        aggregator = make_aggregator(FederationRecipe(), base)
        for node in order:
            aggregator.add(node, *results[node])
        optimizer = make_server_optimizer(recipe_of(name))
        ends.add(optimizer.step(base, aggregator.finish().state).tobytes())
    assert len(ends) == 1


def test_one_that_runs_away_ends_the_run_with_a_word_on_it() -> None:
    optimizer = make_server_optimizer(recipe_of("fedavgm", learning_rate=100))
    state = np.array([1, -1], np.float32)

    def run_away(state: Vector, steps: int) -> None:
        for _ in range(steps):
            state = optimizer.step(state, -state)

    run_away(state, 3)
    with pytest.raises(FedsmsError, match="fedavgm") as caught:
        run_away(state, 100)
    assert "--server-learning-rate" in caught.value.next_step


@pytest.mark.parametrize(
    ("name", "rate", "momentum"),
    [("fedavgm", 1.0, 0.6), ("fedadam", 0.1, 0.9), ("fedyogi", 0.03, 0.9)],
)
def test_what_is_not_given_is_as_the_page_says(name: str, rate: float, momentum: float) -> None:
    given = means(4)
    usual, _ = states(recipe_of(name), given)
    said, _ = states(recipe_of(name, learning_rate=rate, momentum=momentum), given)
    assert all(np.array_equal(one, other) for one, other in zip(usual, said, strict=True))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_number_that_leaves_the_bounds_ends_the_run_whatever_its_sign(sign: float) -> None:
    base, mean = np.zeros(3, np.float32), np.zeros(3, np.float32)
    mean[1] = sign * 2.0**33
    optimizer = make_server_optimizer(recipe_of("fedavgm", learning_rate=100), None)
    with pytest.raises(FedsmsError, match="has left the numbers"):
        optimizer.step(base, mean)


def test_numbers_are_taken_up_to_the_bound() -> None:
    for value, fits in ((2.0**33, True), (-(2.0**33), True), (2.0**34, False)):
        optimizer = make_server_optimizer(recipe_of("fedavgm", momentum=0.0), None)
        mean = np.array([value, 0.25], np.float32)
        if fits:
            assert optimizer.step(np.zeros(2, np.float32), mean).tolist() == mean.tolist()
            continue
        with pytest.raises(FedsmsError):
            optimizer.step(np.zeros(2, np.float32), mean)


@pytest.mark.parametrize(
    ("name", "first", "mean"),
    [("fedavgm", 1e300, 0.5), ("fedadam", 0.0, np.inf), ("fedyogi", 0.0, -np.inf)],
)
def test_what_overflows_is_an_error_of_ours_and_no_warning_of_numpys(
    name: str, first: float, mean: float
) -> None:
    """As of a run that goes on with moments that somebody else wrote."""
    moments = {"first": np.full(2, first), "second": np.full(2, 0.25)}
    optimizer = make_server_optimizer(recipe_of(name), moments)
    with pytest.raises(FedsmsError, match="has left the numbers"):
        optimizer.step(np.zeros(2, np.float32), np.array([mean, 0.5], np.float32))


def test_fedyogi_leaves_a_second_moment_alone_that_is_the_square_already() -> None:
    recipe = recipe_of("fedyogi", tau=0.5)
    optimizer = make_server_optimizer(recipe, None)
    optimizer.step(np.zeros(2, np.float32), np.full(2, 0.5, np.float32))
    assert optimizer.moments["second"].tolist() == [0.25, 0.25]
