"""PointerClient: a node as PySyft's own API wants a worker, with nothing waited for needlessly.

    x = torch.tensor([1.0, 2.0]).send(bob)
    (x + x).get()

Operations whose result is one tensor under an id that PySyft chose here are written and not waited
for, and so are objects that are sent and deletes. What has an answer (`get`, shapes, `search`,
operations with an unknown number of results) waits, and raises what went wrong before it: the error
names the operation that failed and the line that issued it.

For one thread at a time, which must not be that of the link's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import torch

from server.link import Link
from server.node_client import TRANSFER_SECONDS, NodeClient
from shared.command_stream import CommandStream, Site
from shared.commands import EvaluateReport
from shared.errors import FedsmsError, NodeFailed, NodeUnreachable, UsageError
from shared.parameter_transfer import ParameterBases
from shared.pointer_commands import OPEN_POINTERS, SUMMARISE, OpenPointers, SummariseScores
from shared.pointer_wire import Item, Template, unpack_answers
from shared.pysyft import (
    BaseDataset,
    ForceObjectDeleteMessage,
    GetShapeMessage,
    IsNoneMessage,
    NotForTheWire,
    ObjectMessage,
    ObjectNotFoundError,
    ObjectRequestMessage,
    PointerDataset,
    ResponseSignatureError,
    SearchMessage,
    TensorCommandMessage,
    encode,
    forget_worker,
    introduce,
    make_hook,
    parameter_arrays,
    parameter_from,
    remote_tensor,
    restrict_decoder,
    serialize,
)
from shared.recipe import Recipe
from shared.tensor_operations import OPERATIONS, Gives
from shared.wire import Kind, MalformedFrame

Answer = TypeVar("Answer")


class PointerClient(NodeClient):
    """One node whose owner allows pointer operations.

    Args:
        node_id: the node's id, the same as in its greeting.
        link: the standing connection.
        pipeline: False waits for each operation by itself; the numbers are the same.
    """

    takes_commands = True

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
        introduce(self, in_place_of_another=True)

    async def open(self, recipe: Recipe, seed: int) -> None:
        """Begins the session: which words the rows are made of, and what the node draws.

        Raises NodeFailed where the owner does not allow pointers.
        """
        command = OpenPointers(recipe=recipe.to_json(), seed=seed)
        request = self._pack_command(OPEN_POINTERS, command.model_dump())
        await self.link.request(request, seconds=TRANSFER_SECONDS)

    def leave(self) -> None:
        """Takes the worker out of PySyft's registry; what it held is gone with its connection."""
        forget_worker(self)

    # What shared/pysyft/pointer_shortcuts.py asks of a worker

    def command(self, template: Template, ids: list[int]) -> None:
        """Issues an operation whose result, if it has one, gets the last of the ids."""
        gives = OPERATIONS[template[0]]
        if gives is Gives.ONE:
            self.alive.add(ids[-1])
        self.stream.command(template, ids)
        if not self._pipeline and gives not in (Gives.VALUE, Gives.MANY):
            self.wait()

    def discard(self, object_id: int) -> None:
        """Has an object deleted, with whatever is sent next."""
        self.alive.discard(object_id)
        self.stream.delete(object_id)

    def take(self, message: Any, sender: Any) -> Any:
        """Any of PySyft's messages to this worker; gives what the node answers.

        Raises:
            UsageError: a message that nodes do not answer.
            NodeFailed: the node refused it, or an operation before it.
        """
        if isinstance(message, TensorCommandMessage):
            return self._tensor_command(message)
        if isinstance(message, ObjectMessage):
            return self._send_object(message, sender)
        if isinstance(message, ForceObjectDeleteMessage):
            return self.discard(_number(message.object_id))
        if isinstance(message, ObjectRequestMessage):
            return self._fetch_one(_number(message.object_id))
        if isinstance(message, GetShapeMessage):
            return list(self._ask(Item.SHAPE, _number(message.tensor_id)))
        if isinstance(message, IsNoneMessage):
            return self._is_none(_number(message.object_id))
        if isinstance(message, SearchMessage):
            return self.search(message.query)
        raise UsageError(f"nodes do not answer a {type(message).__name__}")

    def _fetch_one(self, object_id: int) -> Any:
        found = self._ahead.pop(object_id, None)
        return found if found is not None else self.fetch([object_id])[0]

    def _is_none(self, object_id: int) -> bool:
        if object_id not in self.alive:
            raise ObjectNotFoundError(object_id, self)
        return False  # the session holds tensors and datasets alone

    def _send_object(self, message: Any, sender: Any) -> None:
        sent = message.object
        object_id = _number(sent.id)
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

    def _tensor_command(self, message: Any) -> Any:
        action = message.action
        template, ids = self._template(action)
        gives = OPERATIONS[template[0]]
        if gives is Gives.ONE:
            ids.append(_number(action.return_ids[0]))
        self.command(template, ids)
        if gives is Gives.VALUE:
            value = self.wait()[-1]
            return torch.Size(value) if type(value) is tuple else value
        if gives is Gives.MANY:
            made = [_number(one) for one in self.wait()[-1]]
            self.alive.update(made)
            raise ResponseSignatureError(made)  # how PySyft is told other ids than it chose
        return None

    def _template(self, action: Any) -> tuple[Template, list[int]]:
        """Raises UsageError where the operation is not one that nodes run."""
        name, target = getattr(action, "name", ""), getattr(action, "target", None)
        if type(target) is int:  # how PySyft addresses a dataset
            name = f"dataset.{name}"
        if name not in OPERATIONS:
            raise UsageError(
                f"nodes do not run {name!r} for pointers",
                next_step="shared/tensor_operations.py lists what they run.",
            )
        ids: list[int] = []
        try:
            first = [] if target is None else [target]
            if type(target) is int:
                ids.append(target)
                first = []
            arguments = [encode(value, ids, self) for value in (*first, *action.args)]
            named = [(key, encode(value, ids, self)) for key, value in action.kwargs.items()]
        except NotForTheWire as error:
            raise UsageError(
                f"{name} cannot run on node {self.id} with {error} among its arguments",
                next_step="Tensors among them must be there: send them first.",
            ) from None
        if type(target) is int:
            arguments.insert(0, ("r", 0))
        return (name, tuple(arguments), tuple(named)), ids

    # What is waited for

    def fetch(self, object_ids: Sequence[int]) -> list[Any]:
        """The objects of those ids, which are then gone from the node; one exchange for all.

        Raises NodeFailed where one is not there, or may not leave the node.
        """
        for object_id in object_ids:
            self.stream.item(Item.FETCH, object_id)
        answers = self.wait()[-len(object_ids) :]
        self.alive.difference_update(object_ids)
        return [self._object(*pair) for pair in zip(object_ids, answers, strict=True)]

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

    def search(self, query: Any) -> list[Any]:
        """Pointers to the objects that have all of the tags; of an empty query, to all with tags.

        They do not delete what they point to.
        """
        words = [query] if isinstance(query, (str, int)) else list(query)
        found = []
        for object_id, kind, shape, tags in self._ask(Item.SEARCH, words):
            self.alive.add(_number(object_id))
            found.append(self._pointer(object_id, kind, torch.Size(shape), set(tags)))
        return found

    def _pointer(self, object_id: int, kind: str, shape: torch.Size, tags: set[str]) -> Any:
        if kind == "dataset":
            return PointerDataset(
                location=self,
                id_at_location=object_id,
                owner=make_hook().local_worker,
                garbage_collect_data=False,
                tags=tags,
            )
        tensor = remote_tensor(self, object_id, shape)
        tensor.child.garbage_collect_data = False
        tensor.child.tags = tags
        return tensor

    def summarise(self, logits: Sequence[Any], labels: Sequence[Any]) -> EvaluateReport:
        """Has the node count scores by bin and label: pointers to float tensors (rows,)."""
        self.wait()
        ids = [[one.id_at_location for one in pointers] for pointers in (logits, labels)]
        command = SummariseScores(logits=ids[0], labels=ids[1])
        request = self._pack_command(SUMMARISE, command.model_dump())
        answer = self._run(self.link.request(request, seconds=TRANSFER_SECONDS))
        with self._blaming():
            return EvaluateReport.parse(self._open(answer))

    def wait(self) -> Sequence[Any]:
        """Waits until all that was issued is done; gives the answers of what has one.

        Raises:
            NodeFailed: an operation failed; names it, and where it was issued.
            NodeUnreachable: the connection is lost.
        """
        return self._exchange(self.stream.last())

    def _ask(self, kind: Item, content: Any) -> Any:
        self.stream.item(kind, content)
        return self.wait()[-1]

    def _exchange(self, payload: bytes) -> Sequence[Any]:
        self.waits += 1
        answer = self._run(self.link.request(payload, seconds=TRANSFER_SECONDS, kind=Kind.COMMANDS))
        try:
            told = unpack_answers(answer)
        except MalformedFrame as error:
            raise NodeFailed(f"node {self.id} sent a malformed answer", str(error)) from None
        if told[0]:
            raise self._failure(*told[1:])
        self.stream.answered()
        answers: Sequence[Any] = told[1]
        return answers

    def _failure(self, number: int, fact: object, cause: object, next_step: object) -> NodeFailed:
        site = self.stream.site(number)
        self.stream.answered()
        self._bases.clear()  # who knows what the node left out
        fact, cause, next_step = (f"{words!s:.1000}" for words in (fact, cause, next_step))
        if site is None:
            return NodeFailed(f"node {self.id} answered: {fact}", cause, next_step)
        return NodeFailed(f"node {self.id} could not do {_place(site)}: {fact}", cause, next_step)

    def _post(self, payload: bytes) -> None:
        self._run(self.link.post(Kind.COMMANDS, payload))

    def _run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Runs a coroutine in the link's event loop, and waits for it."""
        if self._loop.is_closed():
            work.close()
            raise NodeUnreachable(f"the connection to node {self.id} was closed")
        if asyncio._get_running_loop() is self._loop:
            work.close()
            raise FedsmsError(
                "a blocking PySyft call inside the event loop would wait for itself",
                next_step="Call it from another thread.",
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # PySyft's own questions to a remote worker

    def list_objects_remote(self) -> list[int]:
        """Ids of all objects of this session, the owner's tagged rows among them."""
        return list(self._ask(Item.COUNT, None))

    def objects_count_remote(self) -> int:
        return len(self.list_objects_remote())

    def tensors_count_remote(self) -> int:
        return self.objects_count_remote()

    def clear_objects_remote(self) -> None:
        """Forgets what this session has sent and made; the owner's rows stay."""
        self.stream.item(Item.CLEAR, None)
        self.wait()

    def __str__(self) -> str:
        return f"<{type(self).__name__} id:{self.id} #objects:{len(self.alive)}>"

    __repr__ = __str__


def _place(site: Site) -> str:
    name, code, line = site
    return f"{name}, issued at {code.co_filename}:{line} in {code.co_name}"


def _number(object_id: Any) -> int:
    if type(object_id) is not int:
        raise UsageError(f"the id of a remote object is a number, not {object_id!r:.60}")
    return object_id
