"""What pointer operations made of an owner's rows, so that rows do not leave as something else.

Every object of a session has a mark. It flows from operands to results, and by writing in place
from the operands to the tensor and to whatever may share its memory:

    CLEAN     the coordinator's own: sent by it, or made of what is
    GRADIENT  made with a `.grad`: gradients, their norm, parameters that a step has changed
    DATA      computed from rows: activations, scores, losses
    ROWS      the owner's inputs and labels, and views of them; nobody writes into them

A coordinator may fetch what is CLEAN or GRADIENT, single numbers that are DATA, and never ROWS.
This keeps an honest program from giving rows away by mistake. It cannot make a gradient or a loss
say nothing about rows: README, "Honest limits".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from shared.errors import NodeFailed
from shared.pointers.tensor_operations import Gives
from worker_node.pointers.operations import Operation


class Mark(IntEnum):
    """In rising order of what it would give away."""

    CLEAN = 0
    GRADIENT = 1
    DATA = 2
    ROWS = 3


class Marks:
    """The marks of a session's objects, by id."""

    def __init__(self) -> None:
        self._marks: dict[int, int] = {}
        self._groups: dict[int, set[int]] = {}  # who may share memory with whom

    def of(self, object_id: int) -> Mark:
        return Mark(self._marks.get(object_id, 0))

    def set(self, object_id: int, mark: int) -> None:
        if mark:
            self._marks[object_id] = mark

    def forget(self, object_id: int) -> None:
        self._marks.pop(object_id, None)
        group = self._groups.pop(object_id, None)
        if group is not None:
            group.discard(object_id)

    def highest(self, operands: Sequence[int]) -> int:
        marks = self._marks
        mark = 0
        for operand in operands:
            found = marks.get(operand, 0)
            if found > mark:
                mark = found
        return mark

    def check(self, operation: Operation, operands: Sequence[int]) -> int:
        """The highest mark of the operands. Raises NodeFailed where it would change ROWS."""
        mark = self.highest(operands)
        if mark == Mark.ROWS and operation.writes and self._marks.get(operands[0]) == Mark.ROWS:
            raise NodeFailed("the owner's rows are not changed", "the operation is in place")
        return mark

    def follow(
        self, operation: Operation, mark: int, operands: Sequence[int], results: Sequence[int]
    ) -> None:
        """After an operation that ran. `mark`: what `check` gave."""
        if operation.gradient and not mark:
            mark = Mark.GRADIENT
        if operation.gives is Gives.ITSELF:
            if mark > self._marks.get(operands[0], 0):
                self.lift(operands[0], min(mark, Mark.DATA))
            return
        if mark == Mark.ROWS and not operation.shares:
            mark = Mark.DATA
        for result in results:
            if mark:
                self._marks[result] = mark
            if operation.shares and operands:
                self.join(operands[0], result)

    def join(self, operand: int, result: int) -> None:
        group = self._groups.get(operand)
        if group is None:
            group = self._groups[operand] = {operand}
        group.add(result)
        self._groups[result] = group

    def sharing(self, objects: Sequence[int]) -> tuple[int, ...]:
        """For each object the place of the first of them that it may share memory with."""
        groups = [self._groups.get(one) for one in objects]
        keys = [
            -1 - one if group is None else id(group)
            for one, group in zip(objects, groups, strict=True)
        ]
        return tuple(keys.index(key) for key in keys)

    def lift(self, target: int, mark: int) -> None:
        """Raises the mark of an object, and of whatever may share its memory."""
        for member in self._groups.get(target, (target,)):
            if mark > self._marks.get(member, 0):
                self._marks[member] = mark

    def __len__(self) -> int:
        return len(self._marks.keys() | self._groups.keys())
