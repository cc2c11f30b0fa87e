"""The record of a round is made in one place, and its rows say the same again when read."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from server.rounds.records import NodeRound, Round, round_from_rows
from shared.model.metrics import BINS, Metrics, ScoreSummary, merge, metrics_from

NOTHING: Metrics = metrics_from(merge(()))


def summary(ham: dict[int, int], spam: dict[int, int]) -> ScoreSummary:
    counts = [np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)]
    for dense, sparse in zip(counts, (ham, spam), strict=True):
        for place, count in sparse.items():
            dense[place] = count
    return ScoreSummary(counts[0], counts[1], 1.0)


def part(node: str, rows: int, loss: float, training: float) -> NodeRound:
    return NodeRound.of(
        node,
        rows,
        loss,
        NOTHING,
        10.0,
        training=training,
        evaluating=1.0,
        transfer=0.5,
        bytes_sent=7,
        bytes_received=8,
    )


def test_what_a_node_was_not_busy_it_waited_and_never_less_than_nothing() -> None:
    assert part("anne", 1, 0.0, training=4.0).seconds_waiting == 4.5
    assert part("anne", 1, 0.0, training=9.5).seconds_waiting == 0.0


def test_a_round_weighs_losses_by_rows() -> None:
    nodes = [part("anne", 30, 1.0, 2.0), part("bob", 10, 3.0, 4.0)]
    record = Round.of(3, 15, nodes, NOTHING, 10.0, seconds_training=4.0)
    assert record.loss == pytest.approx(1.5)
    assert record.seconds_outside == 6.0
    assert record.left_out == {}


def test_a_round_comes_back_from_its_rows() -> None:
    nodes = [part("anne", 30, 1.0, 2.0), part("bob", 10, 3.0, 4.0)]
    away = {"carol": "node carol is away"}
    record = Round.of(3, 15, nodes, NOTHING, 10.0, seconds_training=4.0, left_out=away)
    rows = [json.loads(json.dumps(row)) for row in record.rows()]
    assert [row["node"] for row in rows] == ["anne", "bob", "carol", "*"]
    assert round_from_rows(rows, 15) == record


def test_a_round_whose_claims_were_cut_weighs_losses_by_what_counts() -> None:
    big = NodeRound.of(
        "mallory",
        500_000_000,
        9.0,
        NOTHING,
        10.0,
        training=1.0,
        evaluating=1.0,
        transfer=0.5,
        bytes_sent=7,
        bytes_received=8,
        rows_counted=30,
    )
    record = Round.of(1, 1, [part("anne", 30, 1.0, 2.0), big], NOTHING, 10.0, seconds_training=2.0)
    assert record.loss == pytest.approx(5.0)
    assert [row["rows_counted"] for row in record.rows()] == [30, 30, 60]


def test_rows_of_a_version_that_told_no_claims_still_make_a_round() -> None:
    record = Round.of(3, 15, [part("anne", 30, 1.0, 2.0)], NOTHING, 10.0, seconds_training=4.0)
    told = ("rows_counted", "held_out_rows_counted")
    rows = [{key: row[key] for key in row if key not in told} for row in record.rows()]
    found = round_from_rows(rows, 15)
    assert found.nodes[0].rows_counted is None
    assert found.nodes[0].weight == 30
    assert found.rows()[-1]["rows_counted"] == 30


def test_what_a_node_held_out_counts_as_it_claims_where_nothing_cuts_it() -> None:
    of_five = metrics_from(merge([summary({3: 2}, {9: 3})]))

    def held_out(metrics: Metrics | None, counted: int | None) -> int | None:
        made = NodeRound.of(
            "anne",
            1,
            0.0,
            metrics,
            1.0,
            training=0.0,
            evaluating=0.0,
            transfer=0.0,
            bytes_sent=0,
            bytes_received=0,
            held_out_rows_counted=counted,
        )
        return made.held_out_rows_counted

    assert [held_out(of_five, None), held_out(of_five, 4), held_out(of_five, 0)] == [5, 4, 0]
    assert [held_out(None, None), held_out(None, 0)] == [None, 0]


def test_a_sum_s_round_is_told_apart_and_keeps_its_times() -> None:
    nodes = [part("anne", 30, 1.0, 2.0)]
    record = Round.of_sum(
        2, 9, nodes, NOTHING, 10.0, rows=111, loss=0.25, seconds_training=4.0, left_out={"bob": "x"}
    )
    assert (record.number, record.rounds, record.seconds, record.seconds_outside) == (2, 9, 10, 6)
    assert (record.loss, record.summed_rows, record.is_secure) == (0.25, 111, True)
    assert (record.left_out, record.nodes, record.metrics) == ({"bob": "x"}, tuple(nodes), NOTHING)
    assert not Round.of(2, 9, nodes, NOTHING, 10.0, seconds_training=4.0).is_secure


def test_a_node_whose_rows_were_not_counted_weighs_nothing_and_one_without_a_loss_adds_none() -> (
    None
):
    unseen = replace(part("anne", 30, 1.0, 2.0), rows=None, rows_counted=None)
    assert unseen.weight == 0
    assert replace(part("anne", 30, 1.0, 2.0), rows_counted=5).weight == 5
    assert replace(part("anne", 30, 1.0, 2.0), rows_counted=0).weight == 0
    silent = replace(part("bob", 10, 3.0, 4.0), loss=None)
    record = Round.of(
        1, 2, [part("anne", 30, 1.0, 2.0), silent, unseen], NOTHING, 1.0, seconds_training=0.5
    )
    assert record.loss == pytest.approx(30 / 40)
    (total,) = (row for row in record.rows() if row["node"] == "*")
    assert (total["rows"], total["rows_counted"]) == (40, 40)


def test_who_is_not_in_the_metrics_is_told_with_the_reason_and_is_no_node_of_the_round() -> None:
    refused = replace(part("anne", 30, 1.0, 2.0), left_out="its counts are none")
    good = part("bob", 10, 3.0, 4.0)
    record = Round.of(
        1, 2, [refused, good], NOTHING, 1.0, seconds_training=0.5, left_out={"carol": "away"}
    )
    assert record.without == {"anne": "its counts are none", "carol": "away"}
    rows = record.rows()
    assert rows[-1]["nodes"] == ["bob"]
    assert rows[-1]["left_out"] == record.without
    assert round_from_rows(rows, 2) == record
    assert round_from_rows(rows, 2).left_out == {"carol": "away"}
    made = NodeRound.of(
        "dora",
        1,
        0.5,
        None,
        1.0,
        training=0.1,
        evaluating=0.1,
        transfer=0.1,
        bytes_sent=1,
        bytes_received=1,
        left_out="late",
    )
    assert made.left_out == "late"


def test_of_a_sum_the_rows_are_the_sums_and_no_nodes_own() -> None:
    nodes = [
        replace(part(node, 1, 1.0, 2.0), rows=None, rows_counted=None, loss=None, metrics=None)
        for node in ("anne", "bob", "carol")
    ]
    record = Round.of_sum(1, 2, nodes, NOTHING, 10.0, rows=600, loss=0.25, seconds_training=4.0)
    assert record.is_secure
    assert record.left_out == {}
    assert record.seconds_outside == 6.0
    rows = record.rows()
    assert (rows[-1]["rows"], rows[-1]["rows_counted"], rows[-1]["loss"]) == (600, 600, 0.25)
    assert rows[-1]["secure_aggregation"] is True
    assert all(row[f"held_out_{name}"] is None for row in rows[:-1] for name in ("roc_auc", "f1"))
    again = round_from_rows(rows, 2)
    assert again == record
    assert again.summed_rows == 600
    assert [one.metrics for one in again.nodes] == [None, None, None]


def test_counts_are_beside_a_record_and_no_part_of_it() -> None:
    nodes = [part("anne", 30, 1.0, 2.0)]
    record = Round.of(1, 2, nodes, NOTHING, 1.0, seconds_training=0.5)
    other = replace(record, scores=summary({1: 2}, {3: 4}))
    assert record == other
    assert "scores" not in repr(other)
