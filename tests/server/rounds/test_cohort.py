"""Quorums as users write them, and the seeded draw of a cohort."""

from __future__ import annotations

from collections import Counter

import pytest

from server.rounds.cohort import ALL, HALF, MinNodes, draw_order
from shared.errors import UsageError


@pytest.mark.parametrize(
    ("text", "asked", "needed"),
    [("1", 5, 1), ("5", 5, 5), ("1.0", 5, 5), ("0.5", 5, 3), ("0.01", 5, 1), ("0.3", 10, 3)],
)
def test_a_quorum_is_a_count_or_a_share(text: str, asked: int, needed: int) -> None:
    assert MinNodes.parse(text).of(asked) == needed


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "0.0", "many", "nan", "inf", ""])
def test_what_is_no_quorum_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="no number of nodes"):
        MinNodes.parse(text)


def test_a_quorum_larger_than_the_cohort_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="only 3 are asked"):
        MinNodes.parse("4").of(3)


def test_a_quorum_reads_as_it_was_written() -> None:
    for text in ("3", "0.8", "1.0"):
        assert str(MinNodes.parse(text)) == text


def test_the_draw_follows_the_seed_and_the_round_and_leaves_nobody_out() -> None:
    nodes = [f"node-{number:03}" for number in range(100)]
    assert draw_order(nodes, 1, 1) == draw_order(reversed(nodes), 1, 1)
    assert draw_order(nodes, 1, 1) != draw_order(nodes, 1, 2)
    assert draw_order(nodes, 1, 1) != draw_order(nodes, 2, 1)
    drawn = Counter(node for number in range(500) for node in draw_order(nodes, 1, number)[:20])
    assert set(drawn) == set(nodes)
    assert 60 < min(drawn.values()) < max(drawn.values()) < 150


def test_a_draw_is_the_same_in_every_version_for_a_resumed_run_goes_on_with_it() -> None:
    nodes = [f"node-{number}" for number in range(8)]
    drawn = [int(node[5:]) for node in draw_order(nodes, 7, 3)]
    assert drawn == [4, 5, 6, 2, 0, 1, 7, 3]


@pytest.mark.parametrize(
    ("share", "asked", "needed"),
    [(0.5, 5, 3), (0.5, 4, 2), (0.5, 1, 1), (0.3, 10, 3), (0.7, 10, 7), (1e-6, 100_000, 1)],
)
def test_a_share_is_of_whole_nodes(share: float, asked: int, needed: int) -> None:
    assert MinNodes(share=share).of(asked) == needed


def test_all_and_half_are_what_they_are_called() -> None:
    assert [quorum.of(7) for quorum in (ALL, HALF)] == [7, 4]


def test_a_count_of_all_is_no_more_than_all() -> None:
    assert MinNodes(count=3).of(3) == 3
