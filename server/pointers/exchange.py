"""The exchange of pointer commands with one node: what is written, what is waited for, what failed.

Operations whose result id was chosen here are written and not waited for, and so are objects that
are sent and deletes. What has an answer waits, and raises what went wrong before it: the error
names the operation that failed and the line that issued it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from server.nodes.client import NodeClient
from server.nodes.link import Link, told_by
from server.pointers.command_stream import CommandStream, Site
from shared.errors import FedsmsError, NodeFailed, NodeUnreachable, UsageError
from shared.pointers.frames import Item, Template, unpack_answers
from shared.pointers.parameter_transfer import ParameterBases
from shared.pointers.tensor_operations import OPERATIONS, Gives
from shared.pysyft import BaseDataset, parameter_arrays, parameter_from, restrict_decoder, serialize
from shared.wire.frames import Kind, MalformedFrame

Answer = TypeVar("Answer")

MAX_UNANSWERED = 20_000
"""Commands after which an answer is asked for, if the program asks for none: a node that lags far
behind is waited for, and where commands were issued need not be remembered for ever."""


class PointerExchange(NodeClient):
    """A node's client with a stream of pointer commands.

    For one thread at a time, which must not be that of the link's event loop.

    Args:
        node_id: the node's id, the same as in its greeting.
        link: the standing connection.
        pipeline: False waits for each operation by itself; the numbers are the same.

    Attributes:
        alive: ids of the objects that this side has sent, made or found.
        waits: how often an answer was waited for.
    """

    def __init__(self, node_id: str, link: Link, pipeline: bool = True) -> None:
        super().__init__(node_id, link)
        restrict_decoder(
            self, (torch.Tensor, torch.nn.Parameter, BaseDataset, dict, list, set, str, tuple)
        )
        self._pipeline = pipeline
        self.stream = CommandStream(self._post)
        self.alive: set[int] = set()
        self._bases = ParameterBases()
        self._ahead: dict[int, Any] = {}
        self.waits = 0

    def command(self, template: Template, ids: list[int]) -> None:
        """Issues an operation whose result, if it has one, gets the last of the ids."""
        gives = OPERATIONS[template[0]]
        if self.stream.unanswered >= MAX_UNANSWERED:
            self.wait()
        if gives is Gives.ONE:
            self.alive.add(ids[-1])
        self.stream.command(template, ids)
        if not self._pipeline and gives not in (Gives.VALUE, Gives.MANY):
            self.wait()

    def discard(self, object_id: int) -> None:
        """Has an object deleted, with whatever is sent next."""
        self.alive.discard(object_id)
        self.stream.delete(object_id)

    def send_object(self, sent: Any, message: Any, sender: Any) -> None:
        """Writes an object to the node. `message`: the ObjectMessage that PySyft made of it."""
        object_id = object_number(sent.id)
        arrays = parameter_arrays(sent)
        if arrays is not None:
            values = self._bases.pack(object_id, "values", arrays[0])
            gradient = self._bases.pack(object_id, "gradient", arrays[1])
            content = (object_id, sent.requires_grad, values, gradient)
            self.stream.item(Item.PARAMETER, content, arrays[0].nbytes)
        else:
            data = serialize(message, sender)
            self.stream.item(Item.OBJECT, data, len(data))
        self.alive.add(object_id)
        if not self._pipeline:
            self.wait()

    def fetch(self, object_ids: Sequence[int]) -> list[Any]:
        """The objects of those ids, which are then gone from the node; one exchange for all.

        Raises NodeFailed where one is not there, or may not leave the node.
        """
        return self.begin_fetch(object_ids)()

    def begin_fetch(self, object_ids: Sequence[int]) -> Callable[[], list[Any]]:
        """The same, asked for now and waited for when the result is called, once.

        Several nodes work at a time then. In between, this one is given no other command.
        """
        for object_id in object_ids:
            self.stream.item(Item.FETCH, object_id)
        asked = self._ask(self.stream.last())

        def wait() -> list[Any]:
            answers = self._expect(len(object_ids), self._answered(asked.result()))
            self.alive.difference_update(object_ids)
            return [self._object(*pair) for pair in zip(object_ids, answers, strict=True)]

        return wait

    def fetch_ahead(self, object_ids: Sequence[int]) -> None:
        """Fetches objects that will be asked for one by one right after."""
        self._ahead = dict(zip(object_ids, self.fetch(object_ids), strict=True))

    def _object(self, object_id: int, told: Any) -> Any:
        with self._blaming():
            if type(told) is tuple and len(told) == 3:
                return self._parameter(object_id, *told)
            if type(told) is not bytes:
                raise NodeFailed("something else than an object")
            return self._open(memoryview(told))

    def _parameter(self, object_id: int, requires_grad: Any, values: Any, gradient: Any) -> Any:
        array = self._bases.unpack(object_id, "values", values)
        grad = self._bases.unpack(object_id, "gradient", gradient)
        if array is None or (grad is not None and grad.shape != array.shape):
            raise NodeFailed("a malformed parameter")
        return parameter_from(object_id, array, grad, bool(requires_grad))

    def wait(self) -> Sequence[Any]:
        """Waits until all that was issued is done; gives the answers of what has one.

        Raises:
            NodeFailed: an operation failed; names it, and where it was issued.
            NodeUnreachable: the connection is lost.
        """
        return self._exchange(self.stream.last())

    def ask(self, kind: Item, content: Any) -> Any:
        """The node's answer to an item that has one."""
        self.stream.item(kind, content)
        return self.answers(1)[0]

    def answers(self, number: int) -> Sequence[Any]:
        """Waits for that many answers, and no others; raises as `wait` does."""
        return self._expect(number, self.wait())

    def _expect(self, number: int, answers: Sequence[Any]) -> Sequence[Any]:
        if len(answers) != number:
            raise NodeFailed(f"node {self.id} sent {len(answers)} answers instead of {number}")
        return answers

    def _exchange(self, payload: bytes) -> Sequence[Any]:
        return self._answered(self._ask(payload).result())

    def _ask(self, payload: bytes) -> Future[memoryview]:
        self.waits += 1
        return self._start(
            self.link.request(
                payload, seconds=self.link.timeouts.transfer_timeout, kind=Kind.COMMANDS
            )
        )

    def _answered(self, answer: memoryview) -> Sequence[Any]:
        try:
            told = unpack_answers(answer)
        except MalformedFrame as error:
            raise NodeFailed(f"node {self.id} sent a malformed answer", str(error)) from None
        if told[0]:
            raise self._failure(*told[1:])
        self.stream.answered()
        answers: Sequence[Any] = told[1]
        return answers

    def _failure(self, number: int, *words: object) -> FedsmsError:
        """Args: words: the node's fact, cause and next step."""
        site = self.stream.site(number)
        self.stream.answered()
        self._bases.clear()  # who knows what the node left out
        error = NodeFailed(*(f"{word!s:.1000}" for word in words))
        could = "answered" if site is None else f"could not do {_place(site)}"
        return told_by(f"node {self.id} {could}", error)

    def _post(self, payload: bytes) -> None:
        self.run(self.link.post(Kind.COMMANDS, payload))

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Runs a coroutine in the link's event loop, and waits for it."""
        return self._start(work).result()

    def _start(self, work: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        if self._loop.is_closed():
            work.close()
            raise NodeUnreachable(f"the connection to node {self.id} was closed")
        if asyncio._get_running_loop() is self._loop:
            work.close()
            raise FedsmsError(
                "a blocking PySyft call inside the event loop would wait for itself",
                next_step="Call it from another thread.",
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _place(site: Site) -> str:
    name, code, line = site
    return f"{name}, issued at {code.co_filename}:{line} in {code.co_name}"


def object_number(object_id: Any) -> int:
    """Raises UsageError where it is none: nodes know the objects of pointers by numbers."""
    if type(object_id) is not int:
        raise UsageError(f"the id of a remote object is a number, not {object_id!r:.60}")
    return object_id
