"""A coordinator's pointer operations on a node: frames of commands in, answers out.

Commands run in their order, as they arrive. One that fails is remembered, and all after it are
passed over until the coordinator waits for an answer: that answer is the failure, and says which
command it was. Then the session goes on. Once rows were named, a failure has one text; where what
is told is counted, it does not say which command it was either.

A session is a process of its own (session_process.py); what it draws at random is its own as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from shared.errors import FedsmsError, NodeFailed
from shared.model.metrics import summarise
from shared.model.vectors import ids_from, new_object_id, plain_array
from shared.pointers.frames import Item, pack_answers, pack_failure, unpack_commands
from shared.pointers.parameter_transfer import ParameterBases
from shared.pointers.tensor_operations import Gives
from shared.pysyft import ObjectMessage, deserialize, parameter_arrays, parameter_from, serialize
from worker_node.pointers.program import Command, Program, Step, bits, names_any
from worker_node.pointers.recorded_step import RecordedStep
from worker_node.pointers.release import ANSWER_BITS, Asked, Origin, Withheld, price, release
from worker_node.pointers.rows import TaggedTensor
from worker_node.pointers.store import PointerStore

MAX_STEPS = 64
"""Recorded steps that one session may keep."""
WHY_IS_NOT_TOLD = (
    "it failed there",
    "why is not told once the owner's rows were named",
    "Try it with tensors of your own, in a session that names no rows.",
)


class PointerSession:
    """The objects and operations of one coordinator's session.

    Args:
        decoder: a worker of PySyft's, for its serialisation.
        places: as the owner's rows are, but for their values; load: gives the rows.
        seed: of what operations draw, dropout for instance.
        gradients: the owner lets gradients and parameters go, and so nothing is counted.
        take: pays bits, or raises PolicyRefused.
        draw: gives ids that do not follow from the rows.
    """

    def __init__(
        self,
        decoder: Any,
        places: Iterable[TaggedTensor],
        load: Callable[[], Iterable[TaggedTensor]],
        seed: int,
        gradients: bool,
        take: Callable[[int], None],
        draw: Callable[[], int] = new_object_id,
    ) -> None:
        self.store = PointerStore(places, load, draw)
        self._decoder = decoder
        self._gradients = gradients
        self._take = take
        self._draw = draw
        self._program = Program(draw)
        self._steps: dict[int, RecordedStep] = {}
        self._bases = ParameterBases()
        self._failure: bytes | None = None
        torch.default_generator.manual_seed(seed)
        self._actions: dict[Item, Callable[[Any, list[Any]], None]] = {
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

    @property
    def is_counted(self) -> bool:
        """What is told from now on may follow from the rows, and is paid for."""
        return self.store.derived and not self._gradients

    def handle(self, payload: bytes | memoryview) -> bytes | None:
        """Runs a frame's commands; gives the answer where one is wanted.

        Raises MalformedFrame where it is none; the session cannot go on then.
        """
        wants_answer, items = unpack_commands(payload)
        steps = self._program.steps(items)
        if not self.store.derived and names_any(steps, self.store.rows):
            self.store.derive()
        answers: list[Any] = []
        try:
            if self.is_counted:
                self._take(bits(steps, wants_answer))
        except FedsmsError as refused:
            self._failure = pack_failure(-1, refused.fact, refused.cause, refused.next_step)
        self._run(steps, answers)
        return self._answer(answers) if wants_answer else None

    def _answer(self, answers: list[Any]) -> bytes:
        failure, self._failure = self._failure, None
        if self._program.broken is not None:
            broken = self._program.broken
            failure = pack_failure(-1, broken.fact, broken.cause, broken.next_step)
        if failure is None:
            return pack_answers(answers)
        self._bases.clear()  # the coordinator does the same: parameters may have been passed over
        return failure

    def _run(self, steps: Sequence[Step], answers: list[Any]) -> None:
        for kind, content in steps:
            if kind is Item.COMMANDS:
                self._commands(content, answers)
                continue
            if self._failure is not None:
                continue
            if isinstance(content, NodeFailed):
                self._failure = self._told(-1, content)
                continue
            try:
                self._actions[kind](content, answers)
            except BaseException as error:  # noqa: BLE001  # whatever it is, the coordinator waits
                self._failure = self._told(-1, error)

    def _commands(self, commands: Sequence[Command], answers: list[Any]) -> None:
        store = self.store
        touch, run, get = store.touch, store.run, store.get
        for operation, ids, number, first_id in commands:
            touch(ids)
            if operation is None:
                store.delete(ids[0])  # whatever failed before: nobody asks for it again
                continue
            if self._failure is not None:
                continue
            try:
                tensors = operation.tensors
                result = run(operation, [get(one) for one in ids[:tensors]])
                if operation.gives is Gives.ONE:
                    store.add_result(ids[tensors], result, operation.of_gradients)
                elif operation.gives is Gives.MANY:
                    answers.append(self._many(result, first_id))
                elif operation.gives is Gives.VALUE:
                    value = list(result) if isinstance(result, tuple) else result
                    answers.append(self._release(Asked.SIZES, value))
            except BaseException as error:  # noqa: BLE001  # torch, and PySyft's hook, raise anything
                self._failure = self._told(number, error)

    def _many(self, result: Any, first_id: int) -> Any:
        """Keeps each of the tensors; gives their new ids."""
        parts = result if isinstance(result, (tuple, list)) else (result,)
        ids = ids_from(first_id, len(parts))
        self._release(Asked.RESULTS, ids)
        for object_id, part in zip(ids, parts, strict=True):
            self.store.add_result(object_id, part)
        return ids

    def _release(self, asked: Asked, found: Any) -> Any:
        origin = Origin.DERIVED if self.store.derived else Origin.OWN
        return release(asked, found, origin, self._gradients, self.store.most_rows)

    def _told(self, number: int, error: BaseException) -> bytes:
        """What the coordinator reads of a failure."""
        if not self.store.derived:
            if isinstance(error, FedsmsError):
                return pack_failure(number, error.fact, error.cause, error.next_step)
            words = f"{str(error) or type(error).__name__:.500}".splitlines()[0]
            return pack_failure(number, "it failed there", words, "")
        is_ours = isinstance(error, NodeFailed) and not self.is_counted
        if isinstance(error, Withheld) or is_ours:
            assert isinstance(error, FedsmsError)
            return pack_failure(number, error.fact, error.cause, error.next_step)
        return pack_failure(-1 if self.is_counted else number, *WHY_IS_NOT_TOLD)

    def _object(self, content: Any, answers: list[Any]) -> None:
        message = deserialize(bytes(content), self._decoder)
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

    def _fetch(self, object_id: Any, answers: list[Any]) -> None:
        """The object leaves, and is then gone from here."""
        found = self.store.get(object_id)
        origin = self.store.origin(object_id)
        given: Any = release(Asked.OBJECT, found, origin, self._gradients)
        given.id = object_id
        arrays = parameter_arrays(given)
        if arrays is None:
            answers.append(serialize(given, self._decoder))
        else:
            values = self._bases.pack(object_id, "values", arrays[0])
            answers.append((given.requires_grad, values, None))
        self.store.delete(object_id)

    def _shape(self, object_id: Any, answers: list[Any]) -> None:
        answers.append(self._release(Asked.SIZES, list(self.store.get(object_id).shape)))

    def _search(self, query: Any, answers: list[Any]) -> None:
        answers.append(self.store.search(query, in_all=not self.is_counted))

    def _count(self, content: Any, answers: list[Any]) -> None:
        if self.is_counted:
            raise Withheld("which objects are there may follow from the rows, and is not told")
        answers.append(list(self.store.objects))

    def _clear(self, content: Any, answers: list[Any]) -> None:
        self.store.clear()
        self._steps.clear()

    def _record(self, content: Any, answers: list[Any]) -> None:
        number, step = content
        if len(self._steps) >= MAX_STEPS and number not in self._steps:
            raise NodeFailed(f"a session keeps at most {MAX_STEPS} recorded steps")
        self._steps[number] = step

    def _replay(self, content: Any, answers: list[Any]) -> None:
        number, inputs, outputs = content
        self.store.touch(inputs)
        if number not in self._steps:
            raise NodeFailed("there is no recorded step of that number")
        self._steps[number].run(self.store, inputs, outputs)

    def summarise(self, logits: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
        """Counts of scores by bin and label, as EvaluateReport has them, and the sum of losses.

        Args:
            logits, labels: ids of float32 tensors (rows,); laid end to end, as many of each.

        Raises:
            PolicyRefused: they are not paid for. NodeFailed: there are no such scores.
        """
        self.store.touch((*logits, *labels))
        if not self.store.rows.isdisjoint((*logits, *labels)):
            self.store.derive()
        if self.is_counted:
            self._take(ANSWER_BITS + price(Asked.SCORES, self.store.most_rows))
        try:
            return self._counts(logits, labels)
        except NodeFailed:
            if self.is_counted:
                raise NodeFailed(*WHY_IS_NOT_TOLD) from None
            raise
        except Exception as error:
            raise NodeFailed(*WHY_IS_NOT_TOLD) from error

    def _counts(self, logits: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
        scores, truths = (
            _together([self.store.get(one) for one in ids]) for ids in (logits, labels)
        )
        if scores.shape != truths.shape:
            raise NodeFailed("as many scores as labels are counted")
        if not np.isin(truths, (0.0, 1.0)).all():
            raise NodeFailed("labels are 0 for ham and 1 for spam")
        self._release(Asked.SCORES, scores)
        try:
            summary = summarise(scores, truths)
        except ValueError as error:
            raise NodeFailed("the scores cannot be counted", str(error)) from None
        return {
            "ham": _filled(summary.ham),
            "spam": _filled(summary.spam),
            "loss_sum": summary.loss_sum,
        }


def _filled(counts: Any) -> dict[int, int]:
    return {int(place): int(counts[place]) for place in np.flatnonzero(counts)}


def _together(tensors: Sequence[object]) -> Any:
    """One array (rows,) of float tensors (rows,). Raises NodeFailed where one is none."""
    arrays = [plain_array(tensor) for tensor in tensors if isinstance(tensor, torch.Tensor)]
    if len(arrays) != len(tensors) or any(
        array is None or array.ndim != 1 or array.dtype != np.float32 for array in arrays
    ):
        raise NodeFailed("scores and labels are flat float32 tensors")
    return np.concatenate(arrays)  # type: ignore[arg-type]  # None was refused above
