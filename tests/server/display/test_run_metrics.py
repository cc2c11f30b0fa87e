"""Runs as Prometheus sees them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from server.display.run_metrics import MAX_NODES, RunMetrics
from server.rounds.records import Round
from shared.errors import Interrupted, NodeFailed
from shared.prometheus import OTHERS, new_registry
from tests.helpers.run_folders import OWNERS, made_round
from tests.helpers.scraping import Samples, parsed, values

STATE = np.zeros(3, np.float32)


class Watched:
    """Metrics of made-up rounds, and what is read of them."""

    def __init__(self) -> None:
        self.registry = new_registry()
        self.metrics = RunMetrics(self.registry)

    def read(self) -> Samples:
        from prometheus_client import generate_latest

        return parsed(generate_latest(self.registry).decode())

    def value(self, name: str) -> float:
        return values(self.read(), name)[""]


def test_rounds_add_up_and_the_newest_ones_figures_stand() -> None:
    watched = Watched()
    records = [made_round(number, 5) for number in (1, 2)]
    for record in records:
        watched.metrics.on_round(record, STATE)
    found = watched.read()
    sent = sum(part.bytes_sent for record in records for part in record.nodes)
    assert watched.value("fedsms_rounds_total") == 2
    assert watched.value("fedsms_round_number") == 2
    assert watched.value("fedsms_rounds_planned") == 5
    assert watched.value("fedsms_sent_bytes_total") == sent
    assert watched.value("fedsms_round_duration_seconds_count") == 2
    assert watched.value("fedsms_round_duration_seconds_sum") == 3.0
    assert watched.value("fedsms_held_out_roc_auc") == records[1].metrics.roc_auc
    assert watched.value("fedsms_training_loss_nats") == pytest.approx(records[1].loss)
    assert values(found, "fedsms_node_rounds_total") == dict.fromkeys(OWNERS, 2)
    assert values(found, "fedsms_node_training_seconds_total") == pytest.approx(
        dict.fromkeys(OWNERS, 1.8)
    )
    assert values(found, "fedsms_node_training_loss_nats") == {
        part.node: part.loss for part in records[1].nodes
    }


def test_names_and_units_are_by_prometheus_conventions() -> None:
    watched = Watched()
    watched.metrics.on_round(made_round(1, 1), STATE)
    from prometheus_client import generate_latest

    text = generate_latest(watched.registry).decode()
    kinds = dict(re.findall(r"# TYPE (fedsms_\S+) (\S+)", text))
    assert len(kinds) > 15
    for name, kind in kinds.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|megabytes)(_|$)", name)
        assert f"# HELP {name} " in text


def test_of_rounds_of_sums_there_is_nothing_by_owner() -> None:
    watched = Watched()
    record = made_round(1, 2)
    hidden = [replace(one, rows=None, loss=None, metrics=None) for one in record.nodes]
    secure = Round.of_sum(
        1,
        2,
        hidden,
        record.metrics,
        1.5,
        rows=330,
        loss=0.25,
        seconds_training=0.9,
        left_out={"dan": "lost"},
    )
    watched.metrics.on_round(secure, STATE)
    found = watched.read()
    assert values(found, "fedsms_training_loss_nats") == {"": 0.25}
    assert watched.value("fedsms_left_out_total") == 1
    labels = {value for _, named in found for _, value in named}
    assert not labels & {*OWNERS, "dan"}
    assert 330 not in found.values()


def test_nodes_that_are_told_apart_are_bounded() -> None:
    watched = Watched()
    names = [f"n{number}" for number in range(MAX_NODES + 50)]
    watched.metrics.on_round(made_round(1, 1, names), STATE)
    found = watched.read()
    rounds = values(found, "fedsms_node_rounds_total")
    assert len(rounds) == MAX_NODES + 1
    assert rounds[OTHERS] == 50
    assert OTHERS not in values(found, "fedsms_node_training_loss_nats")


def test_claims_that_are_no_amounts_end_no_run() -> None:
    watched = Watched()
    record = made_round(1, 1)
    wrong = [
        replace(part, seconds_training=value, bytes_sent=-5, loss=value)
        for part, value in zip(record.nodes, (-1.0, float("nan"), float("inf")), strict=True)
    ]
    unknown = replace(record.metrics, roc_auc=None)
    watched.metrics.on_round(replace(record, nodes=tuple(wrong), metrics=unknown), STATE)
    assert watched.value("fedsms_sent_bytes_total") == 0
    auc = watched.value("fedsms_held_out_roc_auc")
    assert auc != auc  # not a number, and never nought


def test_what_nodes_do_and_how_runs_end_is_counted() -> None:
    watched = Watched()
    metrics = watched.metrics
    with metrics.running() as ends:
        metrics.on_progress(1, "anne", "sending", None)
        metrics.on_progress(1, "bob", "training", None)
        metrics.on_progress(1, "anne", "training", None)
        assert values(watched.read(), "fedsms_nodes") == {"training": 2}
        assert watched.value("fedsms_runs_under_way") == 1
        ends("completed")
    for error in (Interrupted("stopped"), NodeFailed("no")):
        with pytest.raises(type(error)), metrics.running():
            raise error
    metrics.on_notice(1, "anne", "is back")
    found = watched.read()
    assert watched.value("fedsms_runs_under_way") == 0
    assert watched.value("fedsms_notices_total") == 1
    assert values(found, "fedsms_nodes") == {}
    assert values(found, "fedsms_runs_total") == {"completed": 1, "interrupted": 1, "failed": 1}
