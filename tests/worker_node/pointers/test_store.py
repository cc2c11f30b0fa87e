"""How many objects a pointer session keeps."""

from __future__ import annotations

import itertools

import pytest
import torch

from shared.errors import NodeFailed
from worker_node.pointers.rows import TaggedTensor
from worker_node.pointers.store import MAX_OBJECTS, PointerStore


def test_a_session_keeps_so_many_objects_and_one_more_when_one_is_deleted() -> None:
    """The owner's own are among them."""
    rows = [TaggedTensor(torch.zeros(1), ("#train",))]
    store = PointerStore(rows, lambda: rows, itertools.count(-9).__next__)
    one = torch.zeros(1)
    for object_id in range(MAX_OBJECTS - 1):
        store.add_result(object_id, one)
    with pytest.raises(NodeFailed, match="at most 50,000 objects"):
        store.add_result(MAX_OBJECTS, one)
    store.delete(0)
    store.add_result(MAX_OBJECTS, one)
    store.delete(1)
    sent: torch.Tensor = torch.zeros(1)
    sent.id = MAX_OBJECTS + 1  # type: ignore[attr-defined]
    sent.tags = None  # type: ignore[attr-defined]
    store.add_sent(sent)
    with pytest.raises(NodeFailed, match="at most 50,000 objects"):
        store.add_sent(sent)
