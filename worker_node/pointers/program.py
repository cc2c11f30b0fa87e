"""Frames of commands taken apart before any of them runs: what they ask for, and which objects.

All of this follows from the coordinator's own bytes. What a frame can tell, and whether it names
the owner's rows, is known when it has been taken apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from shared.errors import NodeFailed
from shared.pointers.frames import DELETE, MAX_COMMANDS, MAX_TEMPLATES, Item, unpack_numbers
from shared.pointers.tensor_operations import Gives
from shared.wire.frames import MalformedFrame
from worker_node.pointers.operations import Operation, compile_template
from worker_node.pointers.recorded_step import RecordedStep
from worker_node.pointers.release import ANSWER_BITS, Asked, price


class Command(NamedTuple):
    """One command of a frame.

    operation: None deletes the object of the first id.
    number: counted from 0 over the whole session, deletes left out.
    first_id: of the results whose number is known only afterwards; 0 where there are none.
    """

    operation: Operation | None
    ids: Sequence[int]
    number: int
    first_id: int = 0


class Step(NamedTuple):
    """An item of a frame, ready to run.

    content: of COMMANDS a list of Command, of RECORD its number and a RecordedStep, of REPLAY its
    number, input ids and output ids; an error, where it is none of these. Of others as it came.
    """

    kind: Item
    content: Any


class Program:
    """What a session has been told of templates, and how many commands.

    Args:
        draw: gives ids that do not follow from the rows.
        compiled: makes a template runnable, or raises NodeFailed.
    """

    def __init__(
        self,
        draw: Callable[[], int],
        compiled: Callable[[Any], Operation] = compile_template,
    ) -> None:
        self._draw = draw
        self._compiled = compiled
        self._templates: list[Operation] = []
        self._number = 0
        self.broken: NodeFailed | None = None
        """A template was none: the commands that follow cannot even be told apart."""

    def steps(self, items: Sequence[tuple[int, Any]]) -> list[Step]:
        """Raises MalformedFrame where an item is none."""
        steps = []
        for kind, content in items:
            if kind == Item.COMMANDS:
                numbers = unpack_numbers(content)
                if self.broken is None:
                    steps.append(Step(Item.COMMANDS, self._commands(numbers)))
            elif kind == Item.TEMPLATES:
                self._learn(content)
            elif kind == Item.FORGET_TEMPLATES:
                self._templates.clear()
            elif kind in (Item.RECORD, Item.REPLAY):
                read = self._recorded if kind == Item.RECORD else _replay
                steps.append(Step(Item(kind), _or_error(read, content)))
            elif kind in _KNOWN:
                steps.append(Step(Item(kind), content))
            else:
                raise MalformedFrame(f"pointer commands with an unknown item {str(kind)[:20]}")
        return steps

    def _learn(self, templates: Any) -> None:
        if type(templates) is not tuple:
            raise MalformedFrame("templates that are no list")
        if len(self._templates) + len(templates) > MAX_TEMPLATES:
            raise MalformedFrame("more templates than a session may have")
        try:
            self._templates += map(self._compiled, templates)
        except NodeFailed as error:
            self.broken = error

    def _commands(self, numbers: list[int]) -> list[Command]:
        templates, commands = self._templates, []
        position, end, first = 0, len(numbers), self._number
        try:
            while position < end:
                number = numbers[position]
                if number == DELETE:
                    commands.append(Command(None, (numbers[position + 1],), -1))
                    position += 2
                    continue
                if number < 0 or self._number - first >= MAX_COMMANDS:
                    raise MalformedFrame("too many pointer commands, or one below 0")
                operation = templates[number - 1]
                following = position + 1 + operation.width
                ids = numbers[position + 1 : following]
                drawn = self._draw() if operation.gives is Gives.MANY else 0
                commands.append(Command(operation, ids, self._number, drawn))
                self._number += 1
                position = following
        except IndexError:
            raise MalformedFrame("pointer commands of an unknown template") from None
        if position != end:
            raise MalformedFrame("pointer commands that end too soon")
        return commands

    def _recorded(self, content: Any) -> tuple[Any, RecordedStep]:
        number, *rest = content
        hash(number)
        return number, RecordedStep.parse(rest, self._templates)


def _replay(content: Any) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    number, inputs, outputs = content
    hash(number)
    if any(type(ids) is not tuple for ids in (inputs, outputs)) or any(
        type(one) is not int for one in (*inputs, *outputs)
    ):
        raise NodeFailed("a recorded step runs with tensors that are named by numbers")
    return number, inputs, outputs


def _or_error(read: Callable[[Any], Any], content: Any) -> Any:
    try:
        return read(content)
    except NodeFailed as error:
        return error
    except (TypeError, ValueError):
        return NodeFailed("a recorded step that is malformed")


_KNOWN = frozenset(Item) - {
    *(Item.COMMANDS, Item.TEMPLATES, Item.FORGET_TEMPLATES, Item.RECORD, Item.REPLAY)
}


def names_any(steps: Sequence[Step], rows: Collection[int]) -> bool:
    """Whether a command, or the run of a recorded step, names one of the owner's objects."""
    for kind, content in steps:
        if isinstance(content, NodeFailed):
            continue  # it will not run
        if kind is Item.COMMANDS:
            if any(one in rows for command in content for one in command.ids):
                return True
        elif kind is Item.REPLAY and any(one in rows for one in content[1]):
            return True
    return False


def bits(steps: Sequence[Step], wants_answer: bool) -> int:
    """What the answer of a frame can tell of rows, were they named: to be paid before it runs."""
    total = ANSWER_BITS
    if not wants_answer:
        return total
    for kind, content in steps:
        if kind is Item.FETCH:
            total += price(Asked.OBJECT, 0)
        elif kind is Item.SHAPE:
            total += price(Asked.SIZES, 0)
        elif kind is Item.COMMANDS:
            total += sum(_PRICES.get(one.operation.gives, 0) for one in content if one.operation)
    return total


_PRICES = {Gives.VALUE: price(Asked.SIZES, 0), Gives.MANY: price(Asked.RESULTS, 0)}
