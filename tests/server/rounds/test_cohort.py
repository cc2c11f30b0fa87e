"""Quorums as users write them, and the seeded draw of a cohort."""

from __future__ import annotations

from collections import Counter

import pytest

from server.rounds.cohort import MinNodes, draw_order
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
