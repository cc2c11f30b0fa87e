"""PointerClient: a node as PySyft's own API wants a worker, with nothing waited for needlessly.

    x = torch.tensor([1.0, 2.0]).send(bob)
    (x + x).get()

PySyft hands its messages over unserialised (shared/pysyft/shortcuts/pointer_shortcuts.py); here
they become pointer commands, see server/pointers/exchange.py for what is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from server.nodes.link import Link
from server.pointers.exchange import PointerExchange, object_number
from shared.errors import NodeFailed, UsageError
from shared.model.recipe import Recipe
from shared.pointers.commands import (
    JOIN_SEALED,
    OPEN_POINTERS,
    OPEN_SEALED,
    OPEN_SHARED,
    SUMMARISE,
    JoinSealed,
    OpenPointers,
    OpenSealed,
    OpenShared,
    SealedKeyReport,
    SummariseScores,
)
from shared.pointers.frames import Item, Template
from shared.pointers.tensor_operations import OPERATIONS, Gives
from shared.pysyft import (
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
    remote_tensor,
)
from shared.wire.commands import EvaluateReport


class PointerClient(PointerExchange):
    """One node whose owner allows pointer operations; for arguments see PointerExchange.

    For one thread at a time, which must not be that of the link's event loop.
    """

    takes_commands = True

    def __init__(self, node_id: str, link: Link, pipeline: bool = True) -> None:
        super().__init__(node_id, link, pipeline)
        introduce(self, in_place_of_another=True)

    async def open(self, recipe: Recipe, seed: int) -> None:
        """Begins the session: which words the rows are made of, and what the node draws.

        Raises PolicyRefused where the owner does not allow pointers.
        """
        command = OpenPointers(recipe=recipe.to_json(), seed=seed)
        await self._begin(OPEN_POINTERS, command.model_dump())

    async def open_shared(self) -> None:
        """Begins a session that has no rows, for shares.

        Raises PolicyRefused where the owner does not allow it, or not to this coordinator.
        """
        await self._begin(OPEN_SHARED, OpenShared().model_dump())

    async def open_sealed(self, context: bytes, recipe: Recipe) -> bytes:
        """Has the node make a key for a sealed session, and gives it signed; see sealed_sessions.

        Raises PolicyRefused where its owner does not allow it, or not with these nodes.
        """
        command = OpenSealed(context=context, recipe=recipe.to_json())
        request = self._pack_command(OPEN_SEALED, command.model_dump())
        answer = await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)
        with self._blaming():
            return SealedKeyReport.parse(self._open(answer)).key

    async def join_sealed(self, keys: Sequence[bytes]) -> None:
        """Begins the sealed session that was opened, with everybody's keys.

        Raises PolicyRefused where the node does not take one of them.
        """
        await self._begin(JOIN_SEALED, JoinSealed(keys=list(keys)).model_dump())

    async def _begin(self, name: str, arguments: dict[str, Any]) -> None:
        request = self._pack_command(name, arguments)
        await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)

    def leave(self) -> None:
        """Takes the worker out of PySyft's registry; what it held is gone with its connection."""
        forget_worker(self)

    def take(self, message: Any, sender: Any) -> Any:
        """Any of PySyft's messages to this worker; gives what the node answers.

        Raises:
            UsageError: a message that nodes do not answer.
            NodeFailed: the node refused it, or an operation before it.
        """
        if isinstance(message, TensorCommandMessage):
            return self._tensor_command(message)
        if isinstance(message, ObjectMessage):
            return self.send_object(message.object, message, sender)
        if isinstance(message, ForceObjectDeleteMessage):
            return self.discard(object_number(message.object_id))
        if isinstance(message, ObjectRequestMessage):
            return self._fetch_one(object_number(message.object_id))
        if isinstance(message, GetShapeMessage):
            return list(self.ask(Item.SHAPE, object_number(message.tensor_id)))
        if isinstance(message, IsNoneMessage):
            return self._is_none(object_number(message.object_id))
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

    def _tensor_command(self, message: Any) -> Any:
        action = message.action
        template, ids = self._template(action)
        gives = OPERATIONS[template[0]]
        if gives is Gives.ONE:
            ids.append(object_number(action.return_ids[0]))
        self.command(template, ids)
        if gives is Gives.VALUE:
            (value,) = self.answers(1)
            return torch.Size(value) if type(value) is tuple else value
        if gives is Gives.MANY:
            (told,) = self.answers(1)
            if type(told) is not tuple:
                raise NodeFailed(f"node {self.id} told no ids of results")
            made = [object_number(one) for one in told]
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
                next_step="shared/pointers/tensor_operations.py lists what they run.",
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

    def search(self, query: Any) -> list[Any]:
        """Pointers to the objects that have all of the tags; of an empty query, to all with tags.

        They do not delete what they point to.
        """
        words = [query] if isinstance(query, (str, int)) else list(query)
        told = self.ask(Item.SEARCH, words)
        try:
            found = [
                self._pointer(object_number(object_id), kind, torch.Size(shape), set(tags))
                for object_id, kind, shape, tags in told
            ]
        except (TypeError, ValueError) as error:
            raise NodeFailed(f"node {self.id} sent a malformed list of objects") from error
        self.alive.update(pointer.id_at_location for pointer in found)
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
        answer = self.run(self.link.request(request, seconds=self.link.timeouts.transfer_timeout))
        with self._blaming():
            return EvaluateReport.parse(self._open(answer))

    # PySyft's own questions to a remote worker

    def list_objects_remote(self) -> list[int]:
        """Ids of all objects of this session, the owner's tagged rows among them."""
        return list(self.ask(Item.COUNT, None))

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
