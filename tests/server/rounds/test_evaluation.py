"""Nodes' counts become metrics: what is impossible, and what a claim counts for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.evaluation import evaluated, summary_of
from shared.errors import NodeFailed
from shared.model.metrics import BINS, merge, metrics_from
from shared.wire.commands import MAX_ROWS, EvaluateReport


def report(ham: dict[int, int], spam: dict[int, int], loss_sum: float = 1.0) -> EvaluateReport:
    return EvaluateReport(
        ham=ham, spam=spam, loss_sum=loss_sum, seconds_evaluating=0.1, seconds_waiting=0.0
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (report({BINS: 1}, {}), "impossible counts"),
        (report({-1: 1}, {}), "impossible counts"),
        (report({3: 0}, {}), "impossible counts"),
        (report({3: -5}, {4: 10}), "impossible counts"),
        (report({3: MAX_ROWS}, {4: 1}), "impossible counts"),
        (report({3: 2**80}, {}), "impossible counts"),
        (report({3: 4}, {}), "4 rows of 5"),
        (report({}, {}), "rows of 5"),
    ],
)
def test_counts_that_cannot_be_name_the_node(told: EvaluateReport, said: str) -> None:
    with pytest.raises(NodeFailed, match="node mallory sent") as caught:
        summary_of("mallory", told, rows=5)
    assert said in str(caught.value)


@pytest.mark.parametrize("loss", [-0.5, float("inf"), float("nan"), -float("inf")])
def test_a_loss_that_no_rows_have_names_the_node(loss: float) -> None:
    """Also where the message was not read by the rules of the wire, which refuse it before."""
    told = report({3: 1}, {}).model_copy(update={"loss_sum": loss})
    with pytest.raises(NodeFailed, match="node mallory sent an impossible loss"):
        summary_of("mallory", told)


def test_counts_are_taken_up_to_the_largest_that_a_weight_may_be() -> None:
    assert summary_of("anne", report({3: MAX_ROWS}, {})).rows == MAX_ROWS
    for ham, spam in (({3: MAX_ROWS}, {4: 1}), ({3: MAX_ROWS + 1}, {})):
        with pytest.raises(NodeFailed, match="node mallory sent impossible counts"):
            summary_of("mallory", report(ham, spam))
    with pytest.raises(NodeFailed, match=f"of {MAX_ROWS:,} at most"):
        summary_of("mallory", report({3: MAX_ROWS}, {4: 1}))


def test_a_loss_of_no_rows_names_the_node() -> None:
    with pytest.raises(NodeFailed, match="node mallory sent an impossible loss"):
        summary_of("mallory", report({}, {}, loss_sum=3.0))
    assert summary_of("anne", report({}, {}, loss_sum=0.0)).rows == 0


counts = st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 100), max_size=4)
reports = st.dictionaries(st.text("abcd", min_size=1), st.tuples(counts, counts), max_size=5)


@given(reports)
def test_without_a_bound_the_overall_figures_are_those_of_all_rows(
    told: dict[str, tuple[dict[int, int], dict[int, int]]],
) -> None:
    given_ = {
        node: report(ham, spam, loss_sum=1.0 if ham or spam else 0.0)
        for node, (ham, spam) in told.items()
    }
    found = evaluated(given_, 0)
    whole = merge(summary_of(node, given_[node]) for node in sorted(given_))
    assert found.overall == metrics_from(whole)
    assert found.cut == {}


@given(reports, st.floats(1, 20))
def test_what_counts_is_what_the_overall_figures_are_of(
    told: dict[str, tuple[dict[int, int], dict[int, int]]], bound: float
) -> None:
    given_ = {
        node: report(ham, spam, loss_sum=1.0 if ham or spam else 0.0)
        for node, (ham, spam) in told.items()
    }
    found = evaluated(given_, bound)
    assert found.overall.rows == sum(found.counted.values())
    for node, (rows, counted) in found.cut.items():
        assert counted < rows == found.each[node].rows


def test_a_node_alone_in_holding_rows_out_counts_for_all_of_them() -> None:
    told = {"anne": report({}, {}, 0.0), "bob": report({3: 900}, {4: 100})}
    assert evaluated(told, 10).overall.rows == 1000
