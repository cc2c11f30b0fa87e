"""Ids that are drawn: as long as each other on the wire, and nobody's to guess."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgpack
import numpy as np
import pytest

from shared.model.vectors import IDS, ids_from, new_object_id
from shared.pysyft import new_id

DRAWN = 5_000


@pytest.mark.parametrize("draw", [new_object_id, new_id])
def test_ids_have_one_length_on_the_wire(draw: Callable[[], int]) -> None:
    ids = {draw() for _ in range(DRAWN)}
    assert {len(msgpack.packb(one)) for one in ids} == {9}
    assert all(one in IDS for one in ids)
    # 5,000 of 10^11: of two that meet by chance there are more than three once in 10^16
    assert len(ids) > DRAWN - 4


def test_the_shortest_and_the_longest_have_it_too() -> None:
    assert len(msgpack.packb(IDS.start)) == len(msgpack.packb(IDS.stop - 1)) == 9
    assert len(msgpack.packb(IDS.start - 1)) == 5


@pytest.mark.parametrize("first", [IDS.start, IDS.stop - 1, 123_456_789_012 % IDS.stop])
def test_ids_of_objects_that_come_together_are_ids_and_never_meet(first: int) -> None:
    ids = ids_from(first, DRAWN)
    assert len(set(ids)) == DRAWN
    assert all(one in IDS for one in ids)
    assert ids_from(first, 2) == ids[:2]
    # of so many, the nearest two of evenly spread ones would be 20 million apart
    assert np.diff(np.sort(ids)).min() > len(IDS) // DRAWN // 10


def test_no_number_of_them_comes_back_to_the_first() -> None:
    (first, second) = ids_from(0, 2)
    assert math.gcd(second - first, len(IDS)) == 1
