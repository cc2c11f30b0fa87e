"""Near-duplicates: which texts are, against a comparison of all pairs."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.messages import made_up
from worker_node.data.near_duplicates import SIMILAR, near_groups, near_in

TEMPLATE = "You have won a prize of {}, call {} now to claim it from our office in {}"


def runs(text: str) -> set[str]:
    return {text[i : i + 5] for i in range(max(1, len(text) - 4))}


def test_templates_with_other_numbers_are_one_group_and_other_messages_are_none() -> None:
    texts = [TEMPLATE.format(n * 1000, 9061700000 + n, "Leeds") for n in range(1, 9)]
    others = [message.text for message in made_up(50)]
    assert near_groups([*others, *texts])[50:] == [50] * 8
    assert near_in(texts, others) == 0
    assert near_in(texts[:3], [*others, texts[5].upper()]) == 3


@given(st.lists(st.text("abc ", max_size=30), max_size=12))
def test_groups_are_those_of_comparing_all_pairs(texts: list[str]) -> None:
    plain = [" ".join(text.split()) for text in texts]
    groups = list(range(len(texts)))
    for one, two in combinations(range(len(texts)), 2):
        a, b = runs(plain[one]), runs(plain[two])
        if len(a & b) >= SIMILAR * len(a | b):
            low, high = sorted((groups[one], groups[two]))
            groups = [low if group == high else group for group in groups]
    # banding may miss a pair that is only just alike, and finds no other
    found = near_groups(texts)
    assert all(groups[index] == groups[first] for index, first in enumerate(found))
    for one, two in combinations(range(len(texts)), 2):
        if runs(plain[one]) == runs(plain[two]):
            assert found[one] == found[two]
