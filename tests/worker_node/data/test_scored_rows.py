"""Of many held-out messages some are scored: which, how many, and what is said of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.many_nodes import nodes_of
from shared.errors import PolicyRefused
from shared.model.recipe import Recipe
from tests.helpers.federating import Watcher, of_rounds, trained
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import Finished
from tests.helpers.secure_rounds import shards
from worker_node.data import SCORED_ROWS
from worker_node.data.shard import Message, Shard, count_labels, drawn_once
from worker_node.guarding.policy import Policy


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 15, 1000])
def test_so_many_are_drawn_each_but_once_and_in_order(rows: int) -> None:
    drawn = list(drawn_once(rows, 7))
    assert len(drawn) == len(set(drawn)) == min(rows, 7)
    assert drawn == sorted(drawn)
    assert drawn == list(drawn_once(rows, 7))
    assert list(drawn_once(rows, 0)) == list(range(rows))


def test_a_file_that_goes_on_with_ham_and_spam_in_turns_gives_both() -> None:
    for turn in (2, 3, 5):  # with evenly spaced rows one label alone would be drawn
        labels = [int(row % turn == 0) for row in range(turn * 2000)]
        found = np.mean([labels[row] for row in drawn_once(len(labels), 2000)])
        assert found == pytest.approx(1 / turn, abs=4 * np.sqrt(1 / turn / 2000))


def test_they_come_from_all_over_the_file() -> None:
    drawn = np.array(drawn_once(40_000, 4000))
    in_tenths = np.histogram(drawn, 10, (0, 40_000))[0]
    assert in_tenths.min() > 300
    assert in_tenths.max() < 500


def test_a_file_that_has_grown_at_its_end_is_measured_with_nearly_the_same_ones() -> None:
    before, after = set(drawn_once(10_000, 1000)), set(drawn_once(10_100, 1000))
    assert len(before & after) > 970
    assert {row for row in after if row < 10_000} <= before


def test_rows_are_scored_as_the_policy_says_and_the_coordinator_hears_of_no_others(
    recipe: Recipe,
) -> None:
    bound = Policy.model_validate({"most_scored_rows": 6})
    watcher = Watcher()

    async def go() -> dict[str, int]:
        async with nodes_of(shards(["anne", "bob"]), None, {"bob": bound}) as served:
            urls = {name: one.url for name, one in served.items()}
            await trained(urls, of_rounds(recipe, 2), watcher)
            return served["bob"].node.greeting().rows

    told = asyncio.run(go())
    assert told == {"train": 37, "held_out": 6}
    for record in watcher.rounds:
        assert record.metrics.rows == 16
        assert [one.metrics and one.metrics.rows for one in record.nodes] == [10, 6]
    counted = [one.nodes[1].metrics for one in watcher.rounds]
    spam = [one.true_positives + one.false_negatives for one in counted if one is not None]
    drawn = replace(shards(["anne", "bob"])["bob"], most_scored=6).scored
    assert spam == [count_labels(drawn)["spam"]] * 2


def test_fewer_scored_rows_than_the_policy_wants_are_too_few() -> None:
    policy = Policy.model_validate({"most_scored_rows": 5, "fewest_held_out_rows": 6})
    rows = tuple(made_up(20))
    shard = Shard(rows, rows, most_scored=policy.most_scored_rows)
    with pytest.raises(PolicyRefused, match="fewest_held_out_rows"):
        policy.check_rows(len(shard.train), len(shard.scored), "evaluate")


@pytest.mark.parametrize(
    ("spam", "ham", "said"),
    [
        (2680, 17_320, "the standard error of a ROC AUC of 99.5% is 0.10 points"),
        (200, 19_800, "the standard error of a ROC AUC of 99.5% is 0.35 points"),
        (0, 20_000, "they are of one class, and have no ROC AUC"),
    ],
)
def test_the_owner_is_told_how_sure_a_figure_is(spam: int, ham: int, said: str) -> None:
    rows = [Message(int(row < spam), "x") for row in range(spam + ham)]
    every = Shard((), rows, most_scored=spam + ham)
    assert every.scored_lines() == []
    more = Shard((), [*rows, *rows], most_scored=spam + ham)
    (line,) = more.scored_lines()
    assert line.startswith(f"scores {spam + ham:,} of {2 * (spam + ham):,} held-out messages")
    # which of them are spam is chance
    assert said[:40] in line
    if not spam:
        assert said in line


def test_check_tells_it_too(cli: Callable[..., Finished], tmp_path: Path) -> None:
    train, held_out = tmp_path / "train.tsv", tmp_path / "held-out.tsv"
    write_tsv(train, made_up(40, seed=1))
    write_tsv(held_out, [*made_up(50, seed=2)] * 500)
    flags = ("check", "--data", train, "--held-out-data", held_out)
    done = cli("worker_node", *flags)
    assert done.code == 0, done.err
    assert f"scores {SCORED_ROWS:,} of 25,000 held-out messages" in done.out
    as_json: dict[str, Any] = json.loads(cli("worker_node", *flags, "--json").out)
    assert (as_json["rows"]["held_out"], as_json["held_out_rows_scored"]) == (25_000, SCORED_ROWS)
