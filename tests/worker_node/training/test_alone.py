"""What an owner has alone, and how sure its gain is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.classifier import initial_state
from shared.model.comparison import FIGURES, SCALE, figures_of
from shared.model.many_texts import encode_all
from shared.model.metrics import BINS, ScoreSummary
from shared.model.recipe import Recipe
from tests.helpers.messages import made_up
from worker_node.training.alone import against, train_alone
from worker_node.training.bootstrap import FEWEST, bounds_of, figures_of_draws
from worker_node.training.local_training import TrainingStopped, score, train

CELLS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1000, 1050), st.integers(0, 9)), min_size=1
)


def rows_of(recipe: Recipe, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    messages = made_up(rows, seed=seed)
    ids = encode_all([one.text for one in messages], recipe.text)
    return ids, np.array([one.label for one in messages])


def test_it_is_the_recipes_own_rounds_one_after_the_other(recipe: Recipe) -> None:
    tokens, labels = rows_of(recipe, 50, seed=3)
    told: list[tuple[int, int]] = []
    found = train_alone(
        tokens,
        labels,
        recipe,
        3,
        start=9,
        seed_of=lambda number: 40 + number,
        order=7,
        on_progress=lambda done, total, _: told.append((done, total)),
    )
    state = initial_state(recipe, 9)
    for number in (1, 2, 3):
        state = train(
            state, tokens, labels, recipe, 40 + number, round_index=number - 1, order=7
        ).state
    assert found.tobytes() == state.tobytes()
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total in told}) == 1


def test_it_stops_where_it_is_told_to(recipe: Recipe) -> None:
    tokens, labels = rows_of(recipe, 50, seed=3)
    with pytest.raises(TrainingStopped):
        train_alone(tokens, labels, recipe, 100, 1, lambda n: n, 7, should_stop=lambda: True)


def test_both_models_are_measured_on_the_same_rows(recipe: Recipe) -> None:
    tokens, labels = rows_of(recipe, 60, seed=4)
    alone, federated = initial_state(recipe, 1), initial_state(recipe, 2)
    found = against(alone, federated, tokens, labels, recipe, seed=5)
    for state, summary in ((alone, found.alone), (federated, found.federated)):
        expected = score(state, tokens, labels, recipe)
        assert summary.ham.tolist() == expected.ham.tolist()
        assert summary.spam.tolist() == expected.spam.tolist()
    again = against(alone, federated, tokens, labels, recipe, seed=5)
    assert found.bounds == again.bounds
    assert {"roc_auc", "average_precision", "best_f1"} <= set(found.bounds)


@given(CELLS)
def test_a_draws_figures_are_those_of_its_counts(cells: list[tuple[int, int, int]]) -> None:
    """A draw is so many rows of each cell: what they give is shared/model's own figure of them."""
    labels, bins, drawn = np.array(cells).T
    found = figures_of_draws(drawn[np.newaxis], labels, bins)
    counts = np.zeros((2, BINS), np.int64)
    np.add.at(counts, (labels, bins), drawn)
    for name, figure in figures_of(ScoreSummary(counts[0], counts[1], 0.0)).items():
        if figure is None:
            assert np.isnan(found[name][0])
        else:
            assert found[name][0] == pytest.approx(figure, abs=1e-9)


def test_an_interval_lies_around_the_gain_and_is_narrower_with_more_rows() -> None:
    generator = np.random.default_rng(1)
    widths = []
    for rows in (100, 3000):
        labels = generator.integers(0, 2, rows)
        noise = generator.normal(0, 60, (2, rows))
        alone = np.clip(1024 + 30 * (2 * labels - 1) + noise[0], 0, BINS - 1).astype(np.int64)
        better = np.clip(1024 + 90 * (2 * labels - 1) + noise[1], 0, BINS - 1).astype(np.int64)
        bounds = bounds_of(alone, better, labels, seed=2)
        cells = np.ones((1, rows), np.int64)
        for name in FIGURES:
            first, second = (
                figures_of_draws(cells, labels, bins)[name][0] for bins in (alone, better)
            )
            low, high = bounds[name]
            assert low / SCALE < second - first < high / SCALE
            assert low > 0
        widths.append(bounds["roc_auc"][1] - bounds["roc_auc"][0])
    assert widths[1] < widths[0] / 2


def test_a_model_against_itself_gains_nothing_in_any_draw() -> None:
    labels = np.arange(40) % 2
    bins = np.arange(40) * 7 + 900
    assert bounds_of(bins, bins, labels, seed=1) == dict.fromkeys(FIGURES, (0, 0))


@pytest.mark.parametrize("spam", [0, 1, FEWEST - 1])
def test_too_few_rows_of_a_class_have_no_interval(spam: int) -> None:
    labels = np.array([1] * spam + [0] * 50)
    bins = np.arange(len(labels))
    assert bounds_of(bins, bins, labels, seed=1) == {}
    assert bounds_of(bins, bins, 1 - labels, seed=1) == {}


def test_no_rows_have_no_interval() -> None:
    none = np.zeros(0, np.int64)
    assert bounds_of(none, none, none, seed=1) == {}
