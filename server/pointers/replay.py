"""A training step recorded once and replayed with one message a batch.

The first two times a step runs through pointers as ever, and what it asks of the node is noted.
Where both times were the same but for ids, the node is told that stretch of commands once; from
then on the Python of the step is not run any more, and one message names the tensors to run it on.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from server.pointers.client import PointerClient
from shared.pointers.frames import DELETE, Item, Template, pack_numbers
from shared.pointers.tensor_operations import OPERATIONS, Gives
from shared.pysyft import new_id, remote_tensor

Step = Callable[..., Sequence[Any]]
_ALONE = (Gives.ONE, Gives.ITSELF, Gives.NOTHING)


@dataclass(frozen=True)
class _Program:
    """Commands over slots; the first are of the tensors given, the next of the fixed ones."""

    commands: tuple[tuple[Template, tuple[int, ...]], ...]
    inputs: int
    fixed: tuple[int, ...]
    outputs: tuple[int, ...]
    slots: int


class ReplayedStep:
    """A step on one node that is recorded, and then replayed; it gives the same numbers either way.

    Args:
        worker: where it runs.
        step: called with remote tensors; returns remote tensors. All that it does must follow from
            which operations it asks for: from the third call on it may not be called any more.
    """

    def __init__(self, worker: PointerClient, step: Step) -> None:
        self._worker = worker
        self._step = step
        self._seen: dict[Hashable, _Program | None] = {}
        self._told: dict[Hashable, tuple[int, _Program]] = {}
        self.replays = 0

    def __call__(
        self, batch: Sequence[Any], parameters: Sequence[Any] = (), kind: Hashable = None
    ) -> Sequence[Any]:
        """Runs the step.

        Args:
            batch: remote tensors that the step is called with.
            parameters: those it uses besides, which may be others each time, in a fixed order.
            kind: steps of different kinds are recorded apart, by batch size for instance.

        Returns:
            What the step returns.
        """
        inputs = [tensor.child.id_at_location for tensor in (*parameters, *batch)]
        if kind in self._told:
            return self._replay(*self._told[kind], inputs)
        results, program = self._record(batch, inputs)
        if program is not None and program == self._seen.get(kind):
            self._tell(kind, program)
        self._seen[kind] = program
        return results

    def _record(
        self, batch: Sequence[Any], inputs: list[int]
    ) -> tuple[Sequence[Any], _Program | None]:
        worker = self._worker
        noted: list[tuple[Template, list[int]]] = []
        before = worker.waits, worker.stream.items
        worker.stream.recorder = lambda template, ids: noted.append((template, list(ids)))
        try:
            results = self._step(*batch)
        finally:
            worker.stream.recorder = None
        if (worker.waits, worker.stream.items) != before:
            return results, None  # it sent or asked for something between its operations
        outputs = [tensor.child.id_at_location for tensor in results]
        return results, self._program(noted, inputs, outputs)

    def _program(
        self, noted: list[tuple[Template, list[int]]], inputs: list[int], outputs: list[int]
    ) -> _Program | None:
        """The commands over slots; None where they leave something behind besides the outputs."""
        made = {ids[-1] for template, ids in noted if OPERATIONS[template[0]] is Gives.ONE}
        if (made & self._worker.alive) - set(outputs) or not made >= set(outputs):
            return None
        if any(OPERATIONS[template[0]] not in _ALONE for template, _ in noted):
            return None
        used = dict.fromkeys(one for _, ids in noted for one in ids)
        fixed = tuple(one for one in used if one not in made and one not in inputs)
        slots: dict[int, int] = {}
        for object_id in (*inputs, *fixed, *used):
            slots.setdefault(object_id, len(slots))
        return _Program(
            commands=tuple((template, tuple(slots[one] for one in ids)) for template, ids in noted),
            inputs=len(inputs),
            fixed=fixed,
            outputs=tuple(slots[one] for one in outputs),
            slots=len(slots),
        )

    def _tell(self, kind: Hashable, program: _Program) -> None:
        number = new_id()
        stream = self._worker.stream
        numbers = array("q")
        last = {slot: place for place, (_, slots) in enumerate(program.commands) for slot in slots}
        kept = set(range(program.inputs + len(program.fixed))) | set(program.outputs)
        for place, (template, slots) in enumerate(program.commands):
            numbers.append(stream.number_of(template))
            numbers.extend(slots)
            for slot in set(slots) - kept:
                if last[slot] == place:
                    numbers.extend((DELETE, slot))
        inputs = program.inputs + len(program.fixed)
        content = (number, inputs, program.slots, pack_numbers(numbers), program.outputs)
        stream.item(Item.RECORD, content)
        self._told[kind] = (number, program)

    def _replay(self, number: int, program: _Program, inputs: list[int]) -> list[Any]:
        outputs = [new_id() for _ in program.outputs]
        worker = self._worker
        worker.alive.update(outputs)
        worker.stream.item(Item.REPLAY, (number, (*inputs, *program.fixed), outputs))
        worker.stream.flush()
        self.replays += 1
        return [remote_tensor(worker, object_id) for object_id in outputs]
