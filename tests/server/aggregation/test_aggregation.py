"""FedAvg on small vectors."""

from __future__ import annotations

import numpy as np
import pytest

from server.aggregation.aggregators import mean_of


def _vector(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_a_node_counts_by_its_rows() -> None:
    results = [(_vector(0, 4), 30), (_vector(4, 0), 10)]

    assert mean_of(results, 2).tolist() == [1.0, 3.0]


def test_the_mean_of_equal_states_is_that_state_to_the_bit() -> None:
    state = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    results = [(state.copy(), rows) for rows in (3, 7, 11, 401)]

    assert np.array_equal(mean_of(results, state.size), state)


def test_no_input_is_changed_and_the_result_shares_no_memory_with_one() -> None:
    one, other = _vector(3, 4), _vector(5, 6)
    result = mean_of([(one, 1), (other, 1)], 2)
    result += 100

    assert one.tolist() == [3, 4]
    assert other.tolist() == [5, 6]


def test_a_single_nodes_result_is_a_copy() -> None:
    one = _vector(3, 4)
    result = mean_of([(one, 5)], 2)
    result[0] = 9

    assert one.tolist() == [3, 4]


def test_small_steps_of_many_nodes_do_not_drown_in_rounding() -> None:
    base = np.float32(1024)
    step = np.nextafter(base, np.float32(2048)) - base
    results = [(np.array([base + step], np.float32), 1)] * 1001

    assert mean_of(results, 1)[0] == base + step


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([], "no results"),
        ([(_vector(1, 2), 0)], "0 rows"),
        ([(_vector(1, 2, 3), 4)], "shape"),
    ],
)
def test_results_that_cannot_be_averaged_are_refused(
    results: list[tuple[np.ndarray, int]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        mean_of(results, 2)
