"""Figures from binned scores against scikit-learn on the same and on the raw scores."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from shared.model.metrics import (
    BINS,
    BINS_PER_LOGIT,
    HIGHEST,
    LOWEST,
    ScoreSummary,
    auc_error,
    bin_of,
    counting_for,
    merge,
    metrics_from,
    summarise,
)


def _drawn(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.3).astype(np.int64)
    labels[:2] = 0, 1
    return generator.normal(3 * labels - 1.5, 3, rows).astype(np.float32), labels


@given(st.integers(0, 2**32 - 1))
def test_every_figure_equals_scikit_learns_on_the_binned_scores(seed: int) -> None:
    logits, labels = _drawn(seed)
    found = metrics_from(summarise(logits, labels))
    binned, predicted = bin_of(logits), logits >= 0

    assert found.roc_auc == pytest.approx(reference.roc_auc_score(labels, binned), abs=1e-12)
    expected = reference.average_precision_score(labels, binned)
    assert found.average_precision == pytest.approx(expected, abs=1e-12)
    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found.precision == pytest.approx(
        reference.precision_score(labels, predicted, zero_division=0)
    )
    assert found.recall == pytest.approx(reference.recall_score(labels, predicted))
    assert found.f1 == pytest.approx(reference.f1_score(labels, predicted))
    assert found.mcc == pytest.approx(reference.matthews_corrcoef(labels, predicted))
    matrix = reference.confusion_matrix(labels, predicted).ravel().tolist()
    assert matrix == [
        found.true_negatives,
        found.false_positives,
        found.false_negatives,
        found.true_positives,
    ]
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert found.loss == pytest.approx(reference.log_loss(labels, probabilities))


@given(st.integers(0, 2**32 - 1))
def test_binning_moves_the_auc_by_no_more_than_half_of_the_pairs_that_share_a_bin(
    seed: int,
) -> None:
    logits, labels = _drawn(seed)
    summary = summarise(logits, labels)
    pairs = summary.ham.sum() * summary.spam.sum()
    bound = 0.5 * (summary.ham * summary.spam).sum() / pairs
    raw = reference.roc_auc_score(labels, logits)

    found = metrics_from(summary).roc_auc
    assert found is not None
    assert abs(found - raw) <= bound + 1e-12
    assert bound < 0.005


def test_the_middle_edge_and_the_ends_are_where_the_docstring_says() -> None:
    tiny = np.nextafter(np.float32(0), np.float32(-1))
    logits = np.array([-1e30, LOWEST, tiny, 0, 1 / BINS_PER_LOGIT, HIGHEST, 1e30], np.float32)

    middle = BINS // 2
    assert bin_of(logits).tolist() == [0, 0, middle - 1, middle, middle + 1, BINS - 1, BINS - 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_no_finite_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        bin_of(np.array([0.0, bad]))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_curves_but_has_counts_and_a_loss(label: int) -> None:
    found = metrics_from(summarise(np.array([-2.0, 1.0]), np.array([label, label])))

    assert found.roc_auc is None
    assert found.average_precision is None
    assert found.rows == 2
    assert found.loss is not None
    assert found.precision == (0.0 if label == 0 else 1.0)
    assert found.recall == (None if label == 0 else 0.5)
    assert found.mcc is None


def test_no_rows_have_no_figures() -> None:
    found = metrics_from(merge([]))

    assert found.rows == 0
    assert (found.loss, found.roc_auc, found.accuracy) == (None, None, None)
    assert (found.precision, found.recall, found.f1, found.mcc) == (None, None, None, None)


def test_summaries_of_parts_merge_to_the_summary_of_the_whole_and_stay_as_they_are() -> None:
    logits, labels = _drawn(5)
    parts = [summarise(logits[:150], labels[:150]), summarise(logits[150:], labels[150:])]
    before = parts[0].ham.copy()
    whole, merged = summarise(logits, labels), merge(parts)

    assert np.array_equal(merged.ham, whole.ham)
    assert np.array_equal(merged.spam, whole.spam)
    assert merged.loss_sum == pytest.approx(whole.loss_sum)
    assert np.array_equal(parts[0].ham, before)


def test_a_model_that_always_says_ham_is_accurate_and_useless() -> None:
    labels = np.array([0] * 87 + [1] * 13)
    found = metrics_from(summarise(np.full(100, -2.0), labels))

    assert found.accuracy == pytest.approx(0.87)
    assert (found.roc_auc, found.recall, found.f1) == (0.5, 0.0, 0.0)
    assert found.average_precision == pytest.approx(0.13)


def test_a_summary_counts_its_rows() -> None:
    ham, spam = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    ham[3], spam[9] = 4, 2
    assert ScoreSummary(ham, spam, 0.0).rows == 6


def _summary(ham: dict[int, int], spam: dict[int, int], loss_sum: float = 0.0) -> ScoreSummary:
    return ScoreSummary(_dense(ham), _dense(spam), loss_sum)


def _dense(sparse: dict[int, int]) -> np.ndarray:
    counts = np.zeros(BINS, np.int64)
    for bin_number, count in sparse.items():
        counts[bin_number] = count
    return counts


bins = st.integers(0, BINS - 1)
sparse = st.dictionaries(bins, st.integers(0, 50) | st.integers(0, 2**49), max_size=5)


@given(sparse, sparse)
def test_the_auc_is_the_exact_share_of_pairs_however_many_rows_there_are(
    ham: dict[int, int], spam: dict[int, int]
) -> None:
    found = metrics_from(_summary(ham, spam)).roc_auc
    pairs = sum(ham.values()) * sum(spam.values())
    won = sum(
        Fraction(low * high) * (1 if one < other else Fraction(1, 2))
        for one, low in ham.items()
        for other, high in spam.items()
        if one <= other
    )
    assert found == (float(won / pairs) if pairs else None)


@given(sparse, sparse)
def test_no_figure_leaves_its_range_however_many_rows_there_are(
    ham: dict[int, int], spam: dict[int, int]
) -> None:
    found = metrics_from(_summary(ham, spam))
    shares = [found.accuracy, found.precision, found.recall, found.f1, found.average_precision]
    assert all(0 <= share <= 1 + 1e-12 for share in shares if share is not None)
    assert found.mcc is None or -1 - 1e-9 <= found.mcc <= 1 + 1e-9
    assert found.rows == sum(ham.values()) + sum(spam.values())


def test_more_rows_than_can_be_counted_are_an_error_and_no_other_number() -> None:
    half = _summary({3: 2**52}, {})
    with pytest.raises(ValueError, match="more than can be counted"):
        merge([half, half])
    with pytest.raises(ValueError, match="more than can be counted"):
        _summary(dict.fromkeys(range(8), 2**62), {})
    with pytest.raises(ValueError, match="more than can be counted"):
        _summary({3: 2**52}, {4: 2**52})
    for ham, spam in (({3: -1}, {}), ({}, {3: -1}), ({3: 5}, {3: -1})):
        with pytest.raises(ValueError, match="below 0"):
            _summary(ham, spam)


@given(sparse, sparse, st.integers(0, 2**60))
def test_a_summary_that_counts_for_fewer_rows_has_just_so_many_with_the_same_scores(
    ham: dict[int, int], spam: dict[int, int], wanted: int
) -> None:
    whole = _summary(ham, spam, loss_sum=7.0)
    rows = min(wanted, whole.rows)
    found = counting_for(whole, rows)
    assert found.rows == rows
    for fewer, more in ((found.ham, whole.ham), (found.spam, whole.spam)):
        fair = [count * rows for count in more.tolist()]
        off = [abs(a * whole.rows - b) for a, b in zip(fewer.tolist(), fair, strict=True)]
        assert max(off) < max(whole.rows, 1)
    if whole.rows:
        assert found.loss_sum == pytest.approx(7.0 * rows / whole.rows)
    assert whole.rows == sum(ham.values()) + sum(spam.values())


def test_the_standard_error_of_an_auc_is_that_of_the_paper() -> None:
    # Hanley and McNeil's 58 normal and 51 abnormal images, whose own error by rank is 0.032
    assert auc_error(0.893, spam=51, ham=58) == pytest.approx(0.032, abs=0.001)
    assert auc_error(1.0, spam=51, ham=58) == 0
    assert auc_error(0.9, spam=0, ham=58) is None
    assert auc_error(0.9, spam=51, ham=0) is None


def test_it_is_how_far_the_auc_of_drawn_scores_goes_astray() -> None:
    drawing = np.random.default_rng(3)
    spam, ham, rate = 40, 200, 0.02  # with exponential scores the AUC is 1 / (1 + rate)
    found = []
    for _ in range(600):
        high, low = drawing.exponential(1 / rate, spam), drawing.exponential(1, ham)
        found.append(np.mean(high[:, None] > low))
    assert np.mean(found) == pytest.approx(1 / (1 + rate), abs=0.002)
    expected = auc_error(1 / (1 + rate), spam, ham)
    assert expected == pytest.approx(np.std(found), rel=0.12)
