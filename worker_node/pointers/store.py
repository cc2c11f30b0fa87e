"""A pointer session's objects, and where each of them came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch._C import TensorBase

from shared.errors import NodeFailed
from shared.model.vectors import is_plain
from shared.pysyft import BaseDataset
from worker_node.pointers.operations import Operation
from worker_node.pointers.release import Origin
from worker_node.pointers.rows import TaggedTensor

MAX_OBJECTS = 50_000
"""Objects that one session may keep; a batch of the tutorial's training needs about 600."""

_base: Any = TensorBase
_storage = _base.untyped_storage
_requires_grad = _base.requires_grad.__get__


class PointerStore:
    """The objects of one session; they go with it.

    Args:
        places: as the owner's own are, but for their values: no row is in the memory of a session
            that names none, where an operation might find it that reads what nobody wrote.
        load: gives the owner's own.
        draw: gives an id for each of them, which must not follow from the rows.

    Attributes:
        rows: ids of the owner's own, which are there as long as the session.
        derived: the owner's rows have been named; never taken back.
    """

    def __init__(
        self,
        places: Iterable[TaggedTensor],
        load: Callable[[], Iterable[TaggedTensor]],
        draw: Callable[[], int],
    ) -> None:
        self.objects: dict[int, Any] = {}
        self.derived = False
        self._tags: dict[int, tuple[Any, frozenset[str]]] = {}
        self._untouched: set[int] = set()  # sent, and named by no command since
        self._parameters: dict[int, Any] = {}
        self._gradients: dict[int, Any] = {}
        for tagged in places:
            object_id = draw()
            self.objects[object_id] = tagged.tensor
            self._tags[object_id] = tagged.tensor, frozenset(tagged.tags)
        self.rows = frozenset(self.objects)
        self._load = load
        self._row_storages: set[int] = set()
        self.most_rows = max((len(one) for one in self.objects.values()), default=0)

    def derive(self) -> None:
        """Rows are about to be named: from now on everything is derived. Idempotent."""
        if self.derived:
            return
        self.derived = True
        own = [one for one in self.objects if one in self.rows]  # in the order of their places
        for object_id, tagged in zip(own, self._load(), strict=True):
            self.objects[object_id] = tagged.tensor
            self._tags[object_id] = tagged.tensor, frozenset(tagged.tags)
            if _storage(tagged.tensor).nbytes():
                self._row_storages.add(_storage(tagged.tensor).data_ptr())

    def origin(self, object_id: int) -> Origin:
        """Of an object that is there. What is not known to be something else is DERIVED."""
        if object_id in self.rows:
            return Origin.OWNERS
        if not self.derived or object_id in self._untouched:
            return Origin.OWN
        thing = self.objects[object_id]
        if self._parameters.get(object_id) is thing:
            return Origin.PARAMETER
        if self._gradients.get(object_id) is thing:
            return Origin.GRADIENT
        return Origin.DERIVED

    def touch(self, object_ids: Iterable[int]) -> None:
        """A command is about to be given these."""
        self._untouched.difference_update(object_ids)

    def run(self, operation: Operation, objects: Sequence[Any]) -> Any:
        """An operation's result. Raises NodeFailed where it would change the owner's rows.

        That keeps an honest program from spoiling them for itself; nothing that leaves depends on
        it.
        """
        if operation.writes and objects and self._are_rows(objects[0]):
            raise NodeFailed("the owner's rows are not changed", "the operation is in place")
        return operation(objects)

    def _are_rows(self, thing: Any) -> bool:
        return isinstance(thing, torch.Tensor) and _storage(thing).data_ptr() in self._row_storages

    def add_sent(self, received: Any) -> None:
        """Adds what the coordinator sent. Raises NodeFailed where it is nothing to be kept."""
        self._require_room()
        if not isinstance(received, (torch.Tensor, BaseDataset)):
            raise NodeFailed("pointers are kept to tensors and datasets, and nothing else")
        parts = [received.data, received.targets] if isinstance(received, BaseDataset) else []
        if not all(map(is_plain, parts)):
            raise NodeFailed("a dataset is made of two plain tensors")
        sent: Any = received
        object_id, tags = sent.id, sent.tags
        if type(object_id) is not int:
            raise NodeFailed("the id of an object is a number")
        self._refuse_rows(object_id)
        self.delete(object_id)
        self.objects[object_id] = received
        self._untouched.add(object_id)
        if isinstance(received, torch.Tensor) and _requires_grad(received):
            self._parameters[object_id] = received
        if tags:
            self._tags[object_id] = received, frozenset(map(str, tags))

    def add_result(self, object_id: int, result: Any, gradient: bool = False) -> None:
        """Raises NodeFailed where it is no tensor, there is no room, or the id is the owner's.

        Args:
            gradient: it was computed from gradients alone.
        """
        if not isinstance(result, torch.Tensor):
            raise NodeFailed("the operation gave no tensor", f"but a {type(result).__name__}")
        self._require_room()
        self._refuse_rows(object_id)
        self._untouched.discard(object_id)
        self.objects[object_id] = result
        if gradient:
            self._gradients[object_id] = result

    def _refuse_rows(self, object_id: int) -> None:
        if object_id in self.rows:
            raise NodeFailed("the owner's rows are not replaced")

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
        if object_id in self.rows:
            return
        self.objects.pop(object_id, None)
        self._untouched.discard(object_id)
        for known in (self._tags, self._parameters, self._gradients):
            if object_id in known:
                del known[object_id]

    def clear(self) -> None:
        """Forgets all but the owner's own."""
        for object_id in list(self.objects):
            self.delete(object_id)

    def search(self, query: Sequence[Any], in_all: bool) -> list[tuple[int, str, Any, list[str]]]:
        """Id, kind, shape and tags of each object that has all tags and ids asked for.

        Of an empty query: all that have tags.

        Args:
            in_all: False looks among the owner's own alone, whose shapes every coordinator knows.
        """
        tags = {word for word in query if type(word) is str}
        ids = {word for word in query if type(word) is int}
        found = [
            object_id
            for object_id in (self.objects if in_all else self.rows)
            if ids <= {object_id} and tags <= self._tags_of(object_id)
        ]
        if not query:
            found = [object_id for object_id in found if self._tags_of(object_id)]
        return [self._told(object_id) for object_id in found]

    def _tags_of(self, object_id: int) -> frozenset[str]:
        """Tags are of the object that was sent, and not of another that took its id."""
        tagged, tags = self._tags.get(object_id, (None, frozenset()))
        return tags if tagged is self.objects[object_id] else frozenset()

    def _told(self, object_id: int) -> tuple[int, str, Any, list[str]]:
        thing = self.objects[object_id]
        dataset = isinstance(thing, BaseDataset)
        shape = tuple(thing.data.shape if dataset else thing.shape)
        return (
            object_id,
            "dataset" if dataset else "tensor",
            shape,
            sorted(self._tags_of(object_id)),
        )
