"""DataOwnerNode: PySyft's WebsocketServerWorker, holding one owner's messages.

It keeps PySyft's object store, message types and serialisation. What it replaces is the transport
(worker_node/serving/listener.py, worker_node/sessions/session.py: every connection has a session
and a store of its own) and who may do what: only the four message types below are answered, only
the commands of shared/wire/commands.py are run, and the owner's rows never are objects of the
store, so nothing that a coordinator can ask for returns them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from shared.errors import NodeFailed
from shared.model.vectors import is_plain
from shared.pysyft import (
    BaseDataset,
    ForceObjectDeleteMessage,
    ObjectMessage,
    ObjectRequestMessage,
    WebsocketServerWorker,
    WorkerCommandMessage,
    deserialize,
    make_hook,
    restrict_decoder,
    serialize,
)
from shared.wire.handshake import Greeting
from shared.wire.timeouts import DEFAULT_TIMEOUTS, Timeouts
from worker_node.audit.lines import Entry
from worker_node.data.packed_messages import in_utf8, labels_of
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard, Who
from worker_node.guarding.sealing_terms import SealingTerms
from worker_node.secure_aggregation.sums import SecureSums
from worker_node.training import KEEP_WORK_SECONDS
from worker_node.training.known_trainings import Trainings
from worker_node.training.secret_seed import mark_of, secret_of
from worker_node.training.trainer_process import TrainerProcess

ANSWERED = (ObjectMessage, ObjectRequestMessage, ForceObjectDeleteMessage, WorkerCommandMessage)
MAX_OBJECTS = 8
"""Objects that one session may keep on the node; a round needs two."""
MAX_STATES = 4
"""Models of the largest size that one session may keep."""


@dataclass
class ObjectStore:
    """What one session has sent to the node, or may fetch from it: object id -> object."""

    objects: dict[Any, Any] = field(default_factory=dict)
    tags: defaultdict[str, set[Any]] = field(default_factory=lambda: defaultdict(set))
    promised: dict[bytes, int] = field(default_factory=dict)
    """Bytes of the objects that requests under way will add, by the request's id."""

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept or promised."""
        return sum(map(nbytes_of, self.objects.values())) + sum(self.promised.values())


class DataOwnerNode(WebsocketServerWorker):
    """One data owner's node.

    Args:
        node_id: the owner's name in the federation.
        shard: the owner's messages.
        trainer: the process that trains on them.
        tell_labels: False hides how many messages are spam.
        guard: the owner's policy and audit log; None has the default policy, and no log.
        timeouts: of them, the handshake's and the heartbeat count here.
        keep_work: seconds that a training goes on when the connection of whoever asked for it is
            lost; 0 gives it up at once.
        sums: the secure sums that it takes part in; None where it cannot.
        sealing: what it needs for sealed sessions; None where it has no certificate.
    """

    joins_registry = False  # of the process, which would keep the node for ever
    crypto_plans = False  # six objects in the store that nobody asked for

    _objects: dict[Any, Any]
    _tag_to_object_ids: defaultdict[str, set[Any]]

    def __init__(
        self,
        node_id: str,
        shard: Shard,
        trainer: TrainerProcess,
        tell_labels: bool = True,
        guard: Guard | None = None,
        *,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        keep_work: float = KEEP_WORK_SECONDS,
        sums: SecureSums | None = None,
        sealing: SealingTerms | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(hook=make_hook(), host="", port=0, id=node_id, loop=loop)
        self.guard = guard or Guard()
        pointed_at = (torch.nn.Parameter, BaseDataset)
        sent_to_pointers = pointed_at if self.guard.allows_pointers else ()
        accepted = (*ANSWERED, torch.Tensor, *sent_to_pointers, dict, list, set, str, tuple)
        restrict_decoder(self, accepted)
        self.shard = shard
        self.trainer = trainer
        self.tell_labels = tell_labels
        self.timeouts = timeouts
        self.trainings = Trainings(keep_work)
        self.sums = sums
        self.sealing = sealing
        self.busy_with: str = ""

    async def prepare(self) -> None:
        """Works out what greetings tell of the rows, which takes seconds of a million."""
        await asyncio.to_thread(self._told_of_rows)

    async def pause(self) -> None:
        """Has the node begin nothing and tell nothing, and stops what it trains; see Pause.

        Raises:
            StorageError: the log cannot say so; the pause has begun all the same.
        """
        self.guard.pause.begin()
        self.trainings.stop()
        await self.guard.record(Who(), Entry("pause", detail=f"node {self.id}"))

    async def go_on(self) -> None:
        """Ends the pause. Raises StorageError where the log cannot say so; it goes on then too."""
        self.guard.pause.end()
        await self.guard.record(Who(), Entry("go on", detail=f"node {self.id}"))

    def greeting(self) -> Greeting:
        return Greeting(
            role="node",
            id=str(self.id),
            busy=self.busy_with,
            most_bytes=self.guard.most_message_bytes,
            secure_aggregation=self.sums is not None,
            **self._told_of_rows(),
        )

    def _told_of_rows(self) -> dict[str, Any]:
        """Nothing where numbers leave in sums or with noise alone: how many rows is one of them."""
        if self.guard.policy.hides_rows:
            return {}
        return {
            "rows": {"train": len(self.shard.train), "held_out": len(self.shard.scored)},
            "labels": self.shard.told_counts() if self.tell_labels else None,
            "skipped": self.shard.told_of_skipped(self.tell_labels),
            "rows_mark": self._rows_mark,
        }

    @cached_property
    def _rows_mark(self) -> str:
        parts = (self.shard.train, self.shard.held_out)
        return mark_of(secret_of((in_utf8(rows), labels_of(rows)) for rows in parts))

    @contextmanager
    def using(self, store: ObjectStore) -> Iterator[None]:
        """PySyft's store is one per worker; for the time of one message it is the session's."""
        before = self._objects, self._tag_to_object_ids
        self._objects, self._tag_to_object_ids = store.objects, store.tags
        try:
            yield
        finally:
            self._objects, self._tag_to_object_ids = before

    def open(self, payload: bytes) -> Any:
        """The PySyft message in a request.

        Raises:
            NodeFailed: it is malformed, or of a type that this node does not answer.
        """
        try:
            message = deserialize(payload, self)
        except ValueError as error:
            raise NodeFailed("a malformed PySyft message", str(error)) from None
        if type(message) not in ANSWERED:
            raise NodeFailed(
                f"node {self.id} does not answer messages of type {type(message).__name__}"
            )
        return message

    def answer(self, message: Any, store: ObjectStore) -> bytes:
        """Handles a message about objects and gives the serialised reply.

        Raises:
            NodeFailed: the object is not there, or the store is full.
        """
        if isinstance(message, ObjectMessage):
            if not _is_plain_tensor(message.object):
                raise NodeFailed(
                    f"node {self.id} keeps tensors without tags, description or gradient, "
                    "and nothing else"
                )
            self.require_room(store, nbytes_of(message.object))
        elif type(message.object_id) not in (int, str):
            raise NodeFailed("an object's id is a number or a word")
        elif isinstance(message, ObjectRequestMessage) and message.object_id not in store.objects:
            raise NodeFailed(f"node {self.id} has no such object to give")
        with self.using(store):
            return serialize(self._message_router[type(message)](message), self)

    def require_room(self, store: ObjectStore, nbytes: int, objects: int = 1) -> None:
        """Raises NodeFailed where the store, with what is promised to it, can take no more.

        Args:
            nbytes: of what would be added. objects: how many; 0 where one that is there grows.
        """
        if len(store.objects) + len(store.promised) + objects > MAX_OBJECTS:
            raise NodeFailed(f"a session keeps at most {MAX_OBJECTS} objects on node {self.id}")
        most = MAX_STATES * self.guard.most_message_bytes
        if store.nbytes + nbytes > most:
            raise NodeFailed(f"a session keeps at most {most:,} bytes on this node")


def nbytes_of(kept: object) -> int:
    """Bytes of an object in a store, all of which are plain tensors."""
    base: Any = torch._C.TensorBase  # which the hook leaves alone
    size: int = base.nbytes.__get__(kept)
    return size


def _is_plain_tensor(received: object) -> bool:
    """True for a tensor that is its numbers and their id, whose bytes can be counted.

    PySyft's store never lets go of tags; a gradient, a description and a long id are memory that
    nobody counts.
    """
    if not is_plain(received) or type(getattr(received, "id", None)) is not int:
        return False
    more = (getattr(received, name, None) for name in ("description", "grad"))
    return not getattr(received, "tags", None) and all(one is None for one in more)


def command_of(message: Any) -> tuple[str, Any]:
    """Name and arguments of a command. Raises NodeFailed where they are not what PySyft sends."""
    name, parts = message.command_name, message.message
    if not isinstance(name, str) or not isinstance(parts, (tuple, list)) or len(parts) != 3:
        raise NodeFailed("a malformed command")
    return name, parts[1]
