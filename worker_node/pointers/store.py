"""A pointer session's objects: tensors and datasets, with tags and marks, and who gets what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from shared.errors import NodeFailed
from shared.pysyft import BaseDataset, new_id
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import refusal
from worker_node.pointers.marks import Mark, Marks
from worker_node.pointers.rows import TaggedTensor

MAX_OBJECTS = 50_000
"""Objects that one session may keep; a batch of the tutorial's training needs about 600."""


class PointerStore:
    """The objects of one session; they go with it.

    Args:
        guard: whose policy says what may be released; None has the default policy.
    """

    def __init__(self, guard: Guard | None = None) -> None:
        self._guard = guard or Guard()
        self.objects: dict[int, Any] = {}
        self.marks = Marks()
        self._tags: dict[int, frozenset[str]] = {}

    def add_rows(self, tensors: Iterable[TaggedTensor]) -> None:
        """Adds the owner's own."""
        for tagged in tensors:
            object_id = new_id()
            self.objects[object_id] = tagged.tensor
            self._tags[object_id] = frozenset(tagged.tags)
            self.marks.set(object_id, Mark.ROWS)

    def add_sent(self, received: Any) -> None:
        """Adds what the coordinator sent. Raises NodeFailed where it is nothing to be kept."""
        self._require_room()
        if not isinstance(received, (torch.Tensor, BaseDataset)):
            raise NodeFailed("pointers are kept to tensors and datasets, and nothing else")
        parts = [received.data, received.targets] if isinstance(received, BaseDataset) else []
        if any(not isinstance(part, torch.Tensor) or hasattr(part, "child") for part in parts):
            raise NodeFailed("a dataset is made of two plain tensors")
        sent: Any = received
        object_id, tags = sent.id, sent.tags
        if type(object_id) is not int:
            raise NodeFailed("the id of an object is a number")
        if self.marks.of(object_id) is Mark.ROWS:
            raise NodeFailed("the owner's rows are not replaced")
        self.delete(object_id)
        self.objects[object_id] = received
        if tags:
            self._tags[object_id] = frozenset(map(str, tags))

    def add_result(self, object_id: int, result: Any) -> None:
        """Raises NodeFailed where it is no tensor, there is no room, or the id is the owner's."""
        if not isinstance(result, torch.Tensor):
            raise NodeFailed("the operation gave no tensor", f"but a {type(result).__name__}")
        self._require_room()
        if object_id in self._tags and self.marks.of(object_id) is Mark.ROWS:
            raise NodeFailed("the owner's rows are not replaced")
        self.objects[object_id] = result

    def _require_room(self) -> None:
        if len(self.objects) >= MAX_OBJECTS:
            raise NodeFailed(f"a pointer session keeps at most {MAX_OBJECTS:,} objects")

    def get(self, object_id: Any) -> Any:
        """Raises NodeFailed where the session has no such object."""
        try:
            return self.objects[object_id]
        except (KeyError, TypeError):
            raise NodeFailed("there is no such object", "it was deleted, or never made") from None

    def delete(self, object_id: int) -> None:
        """Forgets an object, if it is there and not the owner's own."""
        if object_id in self._tags:
            if self.marks.of(object_id) is Mark.ROWS:
                return
            del self._tags[object_id]
        self.objects.pop(object_id, None)
        self.marks.forget(object_id)

    def clear(self) -> None:
        """Forgets all but the owner's own."""
        for object_id in list(self.objects):
            self.delete(object_id)

    def release(self, object_id: Any) -> Any:
        """The object, for the coordinator to have; it is then gone from here.

        Raises:
            NodeFailed: it is not there, or it tells of rows what this mode does not let out.
        """
        wanted = self.get(object_id)
        mark = self.marks.of(object_id)
        if mark is Mark.ROWS:
            raise NodeFailed(
                "the owner's rows do not leave the node",
                "the pointer is to a dataset, or to a part of one",
            )
        if mark is Mark.DATA and (isinstance(wanted, BaseDataset) or wanted.numel() > 1):
            raise NodeFailed(
                f"{wanted.numel():,} numbers computed from the owner's rows do not leave the node",
                "single ones do, as a loss or an accuracy, and so do gradients and parameters",
                "Compute a mean or a sum there, and fetch that.",
            )
        if mark is Mark.DATA:
            self._guard.take_numbers(1)
        if mark is Mark.GRADIENT and not self._guard.policy.pointers.gradients:
            raise refusal("pointers.gradients", "gradients of the rows do not leave the node")
        wanted.id = object_id
        self.delete(object_id)
        return wanted

    def tells(self, object_ids: Iterable[int]) -> None:
        """A shape, a count or a failure of these is about to be told, and may tell of rows.

        Raises PolicyRefused where the owner's policy lets out no more of it.
        """
        if self.marks.highest(tuple(object_ids)) >= Mark.DATA:
            self.tell()

    def tell(self) -> None:
        """One more number about rows is about to be told; raises as `tells` does."""
        self._guard.take_numbers(1)

    def search(self, query: Sequence[Any]) -> list[tuple[int, str, Any, tuple[str, ...]]]:
        """Id, kind, shape and tags of each object that has all tags and ids asked for.

        Of an empty query: all that have tags.
        """
        tags = {word for word in query if type(word) is str}
        ids = {word for word in query if type(word) is int}
        found = [
            object_id
            for object_id in self.objects
            if ids <= {object_id} and tags <= self._tags.get(object_id, frozenset())
        ]
        if not query:
            found = list(self._tags)
        for object_id in found:
            if object_id not in self._tags:  # whose shape may be an answer in itself
                self.tells((object_id,))
        return [self._told(object_id) for object_id in found]

    def _told(self, object_id: int) -> tuple[int, str, Any, tuple[str, ...]]:
        thing = self.objects[object_id]
        dataset = isinstance(thing, BaseDataset)
        shape = tuple(thing.data.shape if dataset else thing.shape)
        kind = "dataset" if dataset else "tensor"
        return object_id, kind, shape, tuple(sorted(self._tags.get(object_id, ())))
