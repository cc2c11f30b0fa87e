"""A recorded step: a stretch of pointer commands, told once, run again by one message.

The commands are the ones that ran before, in the same order; ids have become slots, of which some
are filled at each run (the batch, the parameters) and some are read at its end (the loss). The
numbers that come out are those of the commands sent one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.errors import NodeFailed
from shared.pointers.frames import DELETE, unpack_numbers
from shared.pointers.tensor_operations import Gives
from worker_node.pointers.operations import Operation
from worker_node.pointers.store import PointerStore

MAX_SLOTS = 2**16
MAX_RECORDED = 2**15
"""Commands in a recorded step."""


class _Command(NamedTuple):
    """An operation on slots; None deletes the first of them."""

    operation: Operation | None
    operands: tuple[int, ...]
    result: int


class RecordedStep:
    """Commands over slots; slots 0 to inputs - 1 are filled at each run."""

    def __init__(
        self, commands: list[_Command], inputs: int, slots: int, outputs: tuple[int, ...]
    ) -> None:
        self._commands = commands
        self._inputs = inputs
        self._slots = slots
        self._outputs = outputs

    @classmethod
    def parse(cls, content: Any, templates: Sequence[Operation]) -> RecordedStep:
        """From what an Item.RECORD holds, after its number. Raises NodeFailed where it is wrong."""
        wrong = NodeFailed("a recorded step that is malformed")
        inputs, slots, packed, outputs = content
        numbers = unpack_numbers(packed)
        commands: list[_Command] = []
        position = 0
        if not 0 <= inputs <= slots <= MAX_SLOTS or len(numbers) > 4 * MAX_RECORDED:
            raise wrong
        try:
            while position < len(numbers):
                number = numbers[position]
                operation = templates[number - 1] if number != DELETE else None
                width = operation.width if operation is not None else 1
                used = numbers[position + 1 : position + 1 + width]
                if len(used) < width or not all(0 <= slot < slots for slot in used) or number < 0:
                    raise wrong
                commands.append(_command(operation, used))
                position += 1 + width
        except IndexError:
            raise wrong from None
        if not all(type(slot) is int and 0 <= slot < slots for slot in outputs):
            raise wrong
        return cls(commands, inputs, slots, outputs)

    def run(self, store: PointerStore, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Runs the commands.

        Args:
            inputs: ids of objects for the first slots; they stay where they are.
            outputs: ids under which the results are kept.

        Raises:
            NodeFailed: other numbers of them than recorded, or an object is not there.
        """
        if len(inputs) != self._inputs or len(outputs) != len(self._outputs):
            raise NodeFailed("a recorded step runs with as many tensors as it was recorded with")
        slots = [store.get(object_id) for object_id in inputs]
        slots += [None] * (self._slots - len(slots))
        for operation, operands, result in self._commands:
            if operation is None:
                slots[operands[0]] = None
                continue
            value = store.run(operation, [slots[operand] for operand in operands])
            if result >= 0:
                slots[result] = value
        for object_id, slot in zip(outputs, self._outputs, strict=True):
            store.add_result(object_id, slots[slot])


def _command(operation: Operation | None, used: list[int]) -> _Command:
    if operation is None:
        return _Command(None, tuple(used), -1)
    if operation.gives not in (Gives.ONE, Gives.ITSELF, Gives.NOTHING):
        raise NodeFailed(f"{operation.name} is answered, and cannot be in a recorded step")
    result = used[operation.tensors] if operation.gives is Gives.ONE else -1
    return _Command(operation, tuple(used[: operation.tensors]), result)
