"""Alone against federated: what the figures are, and that both sides call them the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from shared.model.comparison import FIGURES, SCALE, Gain, best_f1, figures_of, gains_of
from shared.model.metrics import BINS, BINS_PER_LOGIT, LOWEST, bin_of, summarise
from shared.wire.commands import CompareReport

SCORES = st.lists(st.tuples(st.integers(0, 1), st.integers(-40, 40)), min_size=1, max_size=40)


def summary(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.array(rows).T
    return scores / 4, labels


@given(SCORES)
def test_the_best_f1_is_the_highest_of_all_thresholds(rows: list[tuple[int, int]]) -> None:
    logits, labels = summary(rows)
    found = best_f1(summarise(logits, labels))
    if not labels.any():
        assert found is None
        return
    thresholds = LOWEST + np.unique(bin_of(logits)) / BINS_PER_LOGIT
    assert thresholds.size <= BINS
    best = max(f1_score(labels, logits >= one, zero_division=0) for one in thresholds)
    assert found == pytest.approx(best, abs=1e-12)


@given(SCORES)
def test_a_model_gains_nothing_over_itself(rows: list[tuple[int, int]]) -> None:
    one = summarise(*summary(rows))
    gains = gains_of(one, one, {"mcc": (-SCALE, SCALE)})
    assert set(gains) == set(FIGURES)
    for name, figure in figures_of(one).items():
        assert gains[name].alone == figure
        assert gains[name].gain == (None if figure is None else 0)
    assert (gains["mcc"].low, gains["mcc"].high) == (-1, 1)
    assert gains["roc_auc"].low is None


def test_only_an_interval_beyond_zero_says_who_is_better_off() -> None:
    assert Gain(0.5, 0.6, 0.01, 0.2).is_better
    assert Gain(0.6, 0.5, -0.2, -0.01).is_worse
    for unsure in (Gain(0.5, 0.6, 0, 0.2), Gain(0.6, 0.5, -0.2, 0), Gain(0.1, 0.9), Gain(None, 1)):
        assert not unsure.is_better
        assert not unsure.is_worse


def test_the_wire_takes_an_interval_of_each_figure_and_of_nothing_else() -> None:
    told = {
        **{name: {} for name in CompareReport.COUNTS if "loss" not in name},
        "loss_sum": 0.0,
        "alone_loss_sum": 0.0,
        "seconds_comparing": 0.0,
        "seconds_waiting": 0.0,
    }
    every = dict.fromkeys(FIGURES, (-2 * SCALE, 2 * SCALE))
    assert CompareReport.model_validate({**told, "bounds": every}).bounds == every
    for wrong in ({"f1": (0, 1)}, {"mcc": (0, 2 * SCALE + 1)}, {"mcc": (0.5, 1.0)}):
        with pytest.raises(ValueError, match="bounds"):
            CompareReport.model_validate({**told, "bounds": wrong})
