"""How words are looked up in a sealed session, who may take part, and what travels at most."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from server.encrypted.sealed import SealedParties, _check_parties
from server.encrypted.sealed_scorer import SealedScorer, low_digits, rows_in_a_go
from shared.errors import UsageError


def opened(low: int, words: int, wide: int) -> int:
    """Numbers that a lookup of one word opens, counted tensor by tensor."""
    blocks = len(range(0, words, low))
    row_of_one, blocks_of_table = low, blocks * wide
    return row_of_one + (blocks + blocks_of_table)


@pytest.mark.parametrize(
    ("words", "wide"), [(2, 3), (64, 3), (512, 18), (8192, 30), (8193, 30), (2**20, 192)]
)
def test_the_base_of_the_digits_is_the_one_that_opens_the_fewest_numbers(
    words: int, wide: int
) -> None:
    found = low_digits(words, wide)
    assert found in [2**power for power in range(1, 21)]
    fewest = min(opened(2**power, words, wide) for power in range(1, 21))
    assert opened(found, words, wide) == fewest


@pytest.mark.parametrize(
    ("words", "wide", "low"), [(1, 1, 2), (2**40, 3, 2**20), (2**39, 1, 2**20), (2**37, 1, 2**19)]
)
def test_bases_reach_from_2_to_a_million(words: int, wide: int, low: int) -> None:
    assert low_digits(words, wide) == low


@pytest.mark.parametrize(
    ("numbers", "table", "most_bytes", "rows"),
    [
        (100, 1000, 0, 50),
        (100, 1000, 1, 1),
        (100, 1000, 16 * (1000 + 100), 1),
        (100, 1000, 16 * (1000 + 200) - 1, 1),
        (100, 1000, 16 * (1000 + 200), 2),
        (100, 1000, 16 * (1000 + 4900), 49),
        (100, 1000, 16 * (1000 + 5000), 50),
        (100, 1000, 16 * (1000 + 5100), 50),
        (7, 0, 16 * 21, 3),
    ],
)
def test_what_is_sent_of_a_go_and_its_triple_fits_into_what_a_node_takes(
    numbers: int, table: int, most_bytes: int, rows: int
) -> None:
    assert rows_in_a_go(numbers, table, most_bytes) == rows


class Goes(SealedScorer):
    """Of which only the goes are looked at."""

    def __init__(self, in_a_go: int, tells: bool = True) -> None:
        self._in_a_go = in_a_go
        self.asked: list[range] = []
        self._tells = tells

    def _score(self, rows: range) -> Any:
        self.asked.append(rows)
        return np.arange(rows.start, rows.stop) / 1000 if self._tells else None


@pytest.mark.parametrize(
    ("rows", "goes"),
    [
        (1, [range(1)]),
        (3, [range(3)]),
        (4, [range(3), range(3, 4)]),
        (6, [range(3), range(3, 6)]),
        (7, [range(3), range(3, 6), range(6, 7)]),
    ],
)
def test_each_message_is_scored_in_one_go(rows: int, goes: list[range]) -> None:
    scorer = Goes(3)
    found = scorer.score(rows)
    assert scorer.asked == goes
    assert found is not None
    assert found.tolist() == (np.arange(rows) / 1000).tolist()
    silent = Goes(3, tells=False)
    assert silent.score(rows) is None
    assert silent.asked == goes


@pytest.mark.parametrize(("words", "hidden"), [(8, 2), (9, 2), (37, 1)])
def test_the_shared_table_has_each_words_projection_where_its_digits_say(
    words: int, hidden: int
) -> None:
    rng = np.random.default_rng(words)
    embedding, inputs = rng.normal(size=(words, 5)), rng.normal(size=(5, 3 * hidden))
    bias = rng.normal(size=3 * hidden)
    scorer = Goes(1)
    for low in (2, 4, 8):
        scorer._low = low
        table = scorer._of_words(embedding, inputs, bias)["table"]
        wide = 3 * hidden
        for word in range(words):
            high = word // low
            found = table[word % low, high * wide : (high + 1) * wide]
            assert found == pytest.approx(embedding[word] @ inputs + bias)
        assert table.shape == (low, len(range(0, words, low)) * wide)


@pytest.mark.parametrize(
    ("ids", "owner"),
    [
        (("bob", "anne", "carol"), "bob"),
        (("bob", "anne", "carol"), "anne"),
        (("bob", "anne", "carol", "dora"), "dora"),
    ],
)
def test_two_holders_and_a_provider_score_messages_of_a_holder_or_of_a_fourth(
    ids: tuple[str, ...], owner: str
) -> None:
    _check_parties(ids, owner)


@pytest.mark.parametrize(
    ("ids", "owner"),
    [
        ((), "bob"),
        (("bob",), "bob"),
        (("bob", "anne"), "bob"),
        (("bob", "anne", "carol"), "carol"),
        (("bob", "anne", "carol"), "dora"),
        (("bob", "anne", "bob"), "bob"),
        (("bob", "bob", "carol"), "bob"),
        (("bob", "anne", "carol", "dora"), "bob"),
        (("bob", "anne", "carol", "dora"), "carol"),
        (("bob", "anne", "carol", "dora"), "emil"),
        (("bob", "anne", "anne", "dora"), "dora"),
        (("bob", "dora", "carol", "dora"), "dora"),
        (("bob", "anne", "carol", "dora", "emil"), "emil"),
        (("bob", "anne", "carol", "dora", "emil"), "dora"),
        (("bob", "anne", "carol", "dora", "emil"), "bob"),
    ],
)
def test_others_are_refused_before_anybody_is_dialled(ids: tuple[str, ...], owner: str) -> None:
    with pytest.raises(UsageError, match=f"messages of {owner} cannot be scored by") as caught:
        _check_parties(ids, owner)
    assert (", ".join(ids) or "nobody") in caught.value.fact
    assert f"--messages-of {owner}" in caught.value.next_step


def node(name: str, most: int) -> Any:
    """A session, as far as it is asked for its name and what it takes."""
    return SimpleNamespace(id=name, link=SimpleNamespace(greeting=SimpleNamespace(most_bytes=most)))


@pytest.mark.parametrize(
    ("said", "most"), [((5, 7, 6), 5), ((7, 6, 5), 5), ((0, 7, 6), 6), ((0, 0, 0), 0)]
)
def test_the_most_that_travels_is_what_every_node_takes(
    said: tuple[int, int, int], most: int
) -> None:
    first, second, provider = (
        node(name, one) for name, one in zip(("bob", "anne", "carol"), said, strict=True)
    )
    parties = SealedParties((first, second), provider, first)
    assert parties.workers == [first, second, provider]
    assert parties.most_bytes == most
    fourth = SealedParties((first, second), provider, node("dora", 3))
    assert [one.id for one in fourth.workers] == ["bob", "anne", "carol", "dora"]
    assert fourth.most_bytes == 3
    assert SealedParties((first, second), provider, second).workers == [first, second, provider]
