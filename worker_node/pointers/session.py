"""A coordinator's pointer operations on a node: frames of commands in, answers out.

Commands run in their order, as they arrive. One that fails is remembered, and all after it are
passed over until the coordinator waits for an answer: that answer is the failure, and says which
command it was. Then the session goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from shared.errors import FedsmsError, NodeFailed, PolicyRefused
from shared.pointers.frames import (
    DELETE,
    MAX_COMMANDS,
    MAX_TEMPLATES,
    Item,
    pack_answers,
    pack_failure,
    unpack_commands,
    unpack_numbers,
)
from shared.pointers.parameter_transfer import ParameterBases
from shared.pointers.tensor_operations import Gives
from shared.pysyft import (
    ObjectMessage,
    deserialize,
    new_id,
    parameter_arrays,
    parameter_from,
    serialize,
)
from shared.wire.frames import MalformedFrame
from worker_node.pointers.marks import Mark
from worker_node.pointers.operations import Operation, compile_template
from worker_node.pointers.recorded_step import RecordedStep
from worker_node.pointers.store import PointerStore

MAX_STEPS = 64
"""Recorded steps that one session may keep."""
_INDEX = re.compile(r"(index|value) \S+")
_ABOUT_SHAPES = re.compile(r"\b(sizes?|shapes?|dims?|dimensions?|dtypes?|scalar type)\b")


class PointerSession:
    """The objects and operations of one coordinator's session.

    Args:
        node: the DataOwnerNode, for PySyft's serialisation.
        store: with the owner's rows in it.
        seed: of what operations draw, dropout for instance.
    """

    def __init__(self, node: Any, store: PointerStore, seed: int) -> None:
        self.store = store
        self._node = node
        self._templates: list[Operation] = []
        self._steps: dict[int, RecordedStep] = {}
        self._bases = ParameterBases()
        self._number = 0  # of the next command
        self._failure: bytes | None = None
        self._broken: bytes | None = None
        self._randomness = torch.Generator().manual_seed(seed).get_state()
        self._actions = {
            Item.OBJECT: self._object,
            Item.PARAMETER: self._parameter,
            Item.FETCH: self._fetch,
            Item.SHAPE: self._shape,
            Item.SEARCH: self._search,
            Item.COUNT: self._count,
            Item.CLEAR: self._clear,
            Item.RECORD: self._record,
            Item.REPLAY: self._replay,
        }

    def handle(self, payload: bytes | memoryview) -> bytes | None:
        """Runs a frame's commands; gives the answer where one is wanted.

        Raises MalformedFrame where it is none; the session cannot go on then.
        """
        answer, items = unpack_commands(payload)
        answers: list[Any] = []
        with self.randomness():
            for kind, content in items:
                self._item(kind, content, answers)
        if not answer:
            return None
        failure, self._failure = self._broken or self._failure, None
        if failure is None:
            return pack_answers(answers)
        self._bases.clear()  # the coordinator does the same: parameters may have been passed over
        return failure

    @contextmanager
    def randomness(self) -> Iterator[None]:
        """What is drawn meanwhile is this session's own sequence."""
        generator = torch.default_generator
        before = generator.get_state()
        generator.set_state(self._randomness)
        try:
            yield
        finally:
            self._randomness = generator.get_state()
            generator.set_state(before)

    def _item(self, kind: Any, content: Any, answers: list[Any]) -> None:
        if kind == Item.COMMANDS:
            self._commands(unpack_numbers(content), answers)
        elif kind == Item.TEMPLATES:
            self._learn(content)
        elif kind == Item.FORGET_TEMPLATES:
            self._templates.clear()
        elif kind not in self._actions:
            raise MalformedFrame(f"pointer commands with an unknown item {str(kind)[:20]}")
        elif self._failure is None and self._broken is None:
            try:
                self._actions[kind](content, answers)
            except Exception as error:  # noqa: BLE001  # whatever it is, the coordinator waits
                self._failure = self._pack(-1, error, Mark.DATA)

    def _learn(self, templates: Any) -> None:
        if type(templates) is not tuple:
            raise MalformedFrame("templates that are no list")
        if len(self._templates) + len(templates) > MAX_TEMPLATES:
            raise MalformedFrame("more templates than a session may have")
        try:
            self._templates += map(compile_template, templates)
        except NodeFailed as error:
            # the commands that follow cannot even be told apart
            self._broken = self._pack(-1, error, Mark.CLEAN)

    def _commands(self, numbers: list[int], answers: list[Any]) -> None:
        if self._broken is not None:
            return
        store, templates = self.store, self._templates
        position, end, commands = 0, len(numbers), 0
        try:
            while position < end:
                number = numbers[position]
                if number == DELETE:
                    store.delete(numbers[position + 1])
                    position += 2
                    continue
                commands += 1
                if number < 0 or commands > MAX_COMMANDS:
                    raise MalformedFrame("too many pointer commands, or one below 0")
                operation = templates[number - 1]
                following = position + 1 + operation.width
                ids = numbers[position + 1 : following]
                if self._failure is None and len(ids) == operation.width:
                    self._command(operation, ids, answers)
                self._number += 1
                position = following
        except IndexError:
            raise MalformedFrame("pointer commands of an unknown template") from None
        if position != end:
            raise MalformedFrame("pointer commands that end too soon")

    def _command(self, operation: Operation, ids: list[int], answers: list[Any]) -> None:
        mark: int = Mark.DATA
        operands = ids[: operation.tensors]
        marks, store = self.store.marks, self.store
        try:
            mark = marks.check(operation, operands)
            result = operation([store.get(operand) for operand in operands])
            if operation.gives is Gives.ONE:
                results = ids[operation.tensors :]
                store.add_result(results[0], result)
            elif operation.gives is Gives.MANY:
                results = self._many(result)
                store.tells(operands)
                answers.append(results)
            else:
                results = []
                if operation.gives is Gives.VALUE:
                    store.tells(operands)
                    answers.append(_value(result))
            marks.follow(operation, mark, operands, results)
        except Exception as error:  # noqa: BLE001  # torch raises nearly anything
            self._failure = self._pack(self._number, error, mark)

    def _many(self, result: Any) -> list[int]:
        """Keeps each of the tensors; gives their new ids."""
        parts = result if isinstance(result, (tuple, list)) else (result,)
        ids = [new_id() for _ in parts]
        for object_id, part in zip(ids, parts, strict=True):
            self.store.add_result(object_id, part)
        return ids

    def _pack(self, number: int, error: Exception, mark: int) -> bytes:
        if mark >= Mark.DATA and not isinstance(error, PolicyRefused):
            try:
                self.store.tell()  # that it failed, and on which sizes
            except PolicyRefused as refused:
                error = refused
        if isinstance(error, FedsmsError):
            return pack_failure(number, error.fact, error.cause, error.next_step)
        return pack_failure(number, "it failed there", _words(error, mark), "")

    def _object(self, content: Any, answers: list[Any]) -> None:
        message = deserialize(bytes(content), self._node)
        if not isinstance(message, ObjectMessage):
            raise NodeFailed("a message among pointer commands that sends no object")
        self.store.add_sent(message.object)

    def _parameter(self, content: Any, answers: list[Any]) -> None:
        object_id, requires_grad, values, gradient = content
        if type(object_id) is not int or type(requires_grad) is not bool:
            raise NodeFailed("a malformed parameter")
        array = self._bases.unpack(object_id, "values", values)
        grad = self._bases.unpack(object_id, "gradient", gradient)
        if array is None or (grad is not None and grad.shape != array.shape):
            raise NodeFailed("a malformed parameter")
        self.store.add_sent(parameter_from(object_id, array, grad, requires_grad))

    def _fetch(self, content: Any, answers: list[Any]) -> None:
        wanted = self.store.release(content)
        arrays = parameter_arrays(wanted)
        if arrays is None:
            answers.append(serialize(wanted, self._node))
            return
        parts = (
            self._bases.pack(content, name, array)
            for name, array in zip(("values", "gradient"), arrays, strict=True)
        )
        answers.append((wanted.requires_grad, *parts))

    def _shape(self, content: Any, answers: list[Any]) -> None:
        self.store.tells((content,))
        answers.append(list(self.store.get(content).shape))

    def _search(self, content: Any, answers: list[Any]) -> None:
        answers.append(self.store.search(content))

    def _count(self, content: Any, answers: list[Any]) -> None:
        answers.append(list(self.store.objects))

    def _clear(self, content: Any, answers: list[Any]) -> None:
        self.store.clear()
        self._steps.clear()

    def _record(self, content: Any, answers: list[Any]) -> None:
        number = content[0]
        if len(self._steps) >= MAX_STEPS and number not in self._steps:
            raise NodeFailed(f"a session keeps at most {MAX_STEPS} recorded steps")
        self._steps[number] = RecordedStep.parse(content[1:], self._templates)

    def _replay(self, content: Any, answers: list[Any]) -> None:
        number, inputs, outputs = content
        if number not in self._steps:
            raise NodeFailed("there is no recorded step of that number")
        self._steps[number].run(self.store, inputs, outputs)


def _value(result: Any) -> Any:
    return list(result) if isinstance(result, tuple) else result


def _words(error: Exception, mark: int) -> str:
    """Why an operation failed, without what the message may tell of an owner's rows."""
    words = f"{str(error) or type(error).__name__:.500}".splitlines()[0]
    if mark < Mark.DATA:
        return words
    if _ABOUT_SHAPES.search(words):
        return _INDEX.sub(r"\1 ...", words)
    return f"{type(error).__name__} (its words may tell of rows, and stay on the node)"
