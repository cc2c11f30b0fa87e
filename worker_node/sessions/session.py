"""A session: one connection of one coordinator to the node, from the handshake to its end.

Each session has an object store of its own; what it leaves behind goes with it. A training that
it asked for is the node's (worker_node/training/known_trainings.py) and goes on for a while when
the connection breaks. Requests about objects are answered in their order; training and evaluating
run beside them, so the session keeps answering meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from shared.errors import (
    FedsmsError,
    HandshakeRefused,
    NodeFailed,
    PolicyRefused,
    StorageError,
)
from shared.model.vectors import Vector, as_vector
from shared.pysyft import WorkerCommandMessage, serialize
from shared.wire.commands import (
    CANCEL,
    EVALUATE,
    TRAIN,
    EvaluateCommand,
    EvaluateReport,
    Progress,
    TrainCommand,
    TrainReport,
)
from shared.wire.frames import (
    Frame,
    Kind,
    MalformedFrame,
    frame,
    pack_error,
    pack_map,
    parse_frame,
    unpack_map,
)
from shared.wire.handshake import check, greeting_from
from shared.wire.heartbeat import HeardServer, watch
from shared.wire.patches import state_from, state_object
from shared.wire.timeouts import limit
from worker_node.membership.admission import Admission, peer_name
from worker_node.node import DataOwnerNode, ObjectStore, command_of
from worker_node.pointers import access as pointer_access
from worker_node.sessions.ledger import Ledger
from worker_node.sessions.work import evaluate, train
from worker_node.training.known_trainings import Key, OnProgress, Trained, key_of

MAX_WORK = 4
"""Requests to train or evaluate that one session may have open at a time."""

Work = Coroutine[Any, Any, TrainReport | EvaluateReport]

log = logging.getLogger("fedsms.node")


class Session:
    """One connection's conversation with the node.

    Args:
        admission: whom the node lets in, by certificate; None asks nobody for one.
        on_greeted: called once the handshake is done.
    """

    def __init__(
        self,
        node: DataOwnerNode,
        connection: HeardServer,
        admission: Admission | None = None,
        on_greeted: Callable[[HeardServer], None] = lambda _: None,
    ) -> None:
        self._node = node
        self._connection = connection
        self._admission = admission
        self._on_greeted = on_greeted
        self._store = ObjectStore()
        self._work: set[asyncio.Task[None]] = set()
        self._called_off: set[asyncio.Task[None]] = set()
        self._ledger = Ledger(node.guard, connection)
        self._pointers = pointer_access.PointerAccess(node)
        self._trainings: set[Key] = set()
        self.peer = "somebody"
        self._trained = False

    @property
    def ended_a_run(self) -> bool:
        """True where the coordinator has trained here and said goodbye.

        One whose connection broke, or who says that it will be back, goes on with its run.
        """
        return self._trained and self._connection.close_code == CloseCode.NORMAL_CLOSURE

    async def run(self) -> None:
        """Runs until the connection ends; never raises for what the peer does."""
        watching = asyncio.create_task(watch(self._connection, self._node.timeouts.heartbeat))
        try:
            if await self._greet():
                async for data in self._connection:
                    await self._handle(parse_frame(data))
        except MalformedFrame as error:
            log.warning("%s sent a malformed frame, goodbye: %s", self.peer, error)
            await self._ledger.ended(str(error))
            await self._connection.close(1002, str(error)[:100].encode("ascii", "replace").decode())
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("the session of %s ends with an unexpected error", self.peer)
            await self._ledger.ended("an unexpected error on the node")
            await self._connection.close(1011, "an unexpected error on the node")
        finally:
            watching.cancel()
            for task in self._work:
                task.cancel()
            await asyncio.gather(*self._work, return_exceptions=True)
            await self._pointers.close()

    async def _greet(self) -> bool:
        """The handshake; False where the peer is refused or says nothing."""
        named = peer_name(self._connection) if self._admission else None
        if named is not None:
            self.peer = named.id
        who = self._ledger.meet(self.peer if named is not None else "")
        first = await self._first_frame()
        if first is None:
            return False
        ours = self._node.greeting()
        told: dict[str, Any] = {}
        try:
            if self._admission is not None and named is not None:
                self._admission.check(named)
            told = {"greeting": ours.to_map()}  # whom the owner does not know is told no counts
            theirs = greeting_from(unpack_map(first.payload))
            if named is None:
                self.peer = who.name = theirs.id
            check(theirs, ours)
            self._node.guard.admit(who)
        except (HandshakeRefused, PolicyRefused) as error:
            await self._refuse(first, error, {} if isinstance(error, PolicyRefused) else told)
            return False
        self._on_greeted(self._connection)
        await self._send(Kind.HELLO, first.request_id, pack_map(ours.to_map()))
        return True

    async def _first_frame(self) -> Frame | None:
        """The other side's greeting; None where it says nothing in time."""
        try:
            async with asyncio.timeout(limit(self._node.timeouts.handshake_timeout)):
                first = parse_frame(await self._connection.recv())
        except TimeoutError:
            await self._connection.close(1008, "no handshake in time")
            return None
        if first.kind is not Kind.HELLO:
            raise MalformedFrame("a connection starts with a handshake")
        return first

    async def _refuse(self, first: Frame, error: FedsmsError, told: dict[str, Any]) -> None:
        self._ledger.refused(first.request_id, error)
        log.warning("%s refused: %s", self.peer, error)
        answer = pack_map({"error": pack_error(error), **told})
        await self._send(Kind.REFUSED, first.request_id, answer)
        await self._connection.close(1008, "handshake refused")

    async def _send(self, kind: Kind, request_id: bytes, payload: bytes) -> None:
        data = frame(kind, request_id, payload)
        try:
            await self._ledger.before(kind, request_id, len(data))
        except StorageError:  # nothing leaves unlogged
            await self._connection.close(1011, "this node cannot write its audit log")
        await self._connection.send(data)

    async def _handle(self, request: Frame) -> None:
        if request.kind is Kind.COMMANDS:
            self._ledger.pointed(request.request_id, len(request.payload))
            answer = await self._pointers.handle(request)
            if answer is not None:
                await self._send(Kind.REPLY, request.request_id, answer)
            return
        if request.kind is not Kind.REQUEST:
            raise MalformedFrame(f"a {request.kind.name} frame from a coordinator")
        await self._node.guard.keep_pace(self._ledger.who)
        try:
            message = self._node.open(bytes(request.payload))
            self._ledger.arrived(request.request_id, message)
            if isinstance(message, WorkerCommandMessage):
                await self._command(message, request.request_id)
            else:
                reply = self._node.answer(message, self._store, len(self._work))
                await self._send(Kind.REPLY, request.request_id, reply)
        except FedsmsError as error:
            await self._send_error(request.request_id, error)

    async def _command(self, message: Any, request_id: bytes) -> None:
        """Starts the work that a command asks for; its inputs are taken from the store now."""
        name, arguments = command_of(message)
        if name == CANCEL:
            for key in self._trainings:
                self._node.trainings.give_up(key)
            self._called_off |= self._work
            for task in self._work:
                task.cancel()
            await self._reply(request_id, None)
            return
        if name in pointer_access.COMMANDS:
            told = await self._pointers.command(name, arguments, self._ledger.who)
            self._trained = True
            await self._send(Kind.REPLY, request_id, serialize(told, self._node))
            return
        if len(self._work) >= MAX_WORK:
            raise NodeFailed(f"a session has at most {MAX_WORK} trainings and evaluations open")
        if name == TRAIN:
            command = TrainCommand.parse(arguments)
            self._ledger.training(request_id, command)
            self._node.require_room(self._store, len(self._work))
            state = self._state(command.state_id, None)
            work: Work = self._train(command, state, request_id)
        elif name == EVALUATE:
            wanted = EvaluateCommand.parse(arguments)
            self._ledger.about(request_id, wanted.state_id)
            state = self._state(wanted.state_id, wanted.base_id)
            work = self._evaluate(wanted, state)
        else:
            raise NodeFailed(f"node {self._node.id} knows no command {name!r:.80}")
        task = asyncio.create_task(self._answer(work, request_id))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(self._called_off.discard)
        # A task that is cancelled before it began would never answer.
        await asyncio.sleep(0)

    def _state(self, object_id: int, base_id: int | None) -> Vector:
        """A state that was sent; one that came as a patch is kept whole from now on."""
        objects = self._store.objects
        if object_id not in objects or (base_id is not None and base_id not in objects):
            raise NodeFailed(f"the state was not sent to node {self._node.id} before the command")
        base = as_vector(objects[base_id]) if base_id is not None else None
        state = state_from(objects[object_id], base)
        objects[object_id] = state_object(state, None, object_id)
        return state

    async def _answer(self, work: Work, request_id: bytes) -> None:
        try:
            await self._reply(request_id, await work)
        except FedsmsError as error:
            log.warning("%s could not be served: %s", self.peer, error)
            await self._send_error(request_id, error)
        except asyncio.CancelledError:
            called_off = asyncio.current_task() in self._called_off
            why = "the coordinator cancelled this" if called_off else "the connection ended"
            log.info("work for %s ends: %s", self.peer, why)
            await self._send_error(request_id, NodeFailed(why))
            raise
        except ConnectionClosed:
            log.info("%s left before its answer was sent", self.peer)
        except Exception as error:
            # The owner reads all of it in the log, and the coordinator need not wait for ever.
            log.exception("%s could not be served", self.peer)
            cause = type(error).__name__
            await self._send_error(request_id, NodeFailed("an unexpected error on the node", cause))

    async def _send_error(self, request_id: bytes, error: FedsmsError) -> None:
        self._ledger.refused(request_id, error)
        with contextlib.suppress(ConnectionClosed):
            await self._send(Kind.ERROR, request_id, pack_error(error))

    async def _reply(self, request_id: bytes, report: TrainReport | EvaluateReport | None) -> None:
        values = report.model_dump() if report is not None else None
        await self._send(Kind.REPLY, request_id, serialize(values, self._node))

    async def _train(self, command: TrainCommand, state: Vector, request_id: bytes) -> TrainReport:
        node, key = self._node, key_of(self.peer, command, state)

        async def begin(tell: OnProgress) -> Trained:
            # here, so that a request which is only repeated counts for nothing
            await node.guard.may_train(self._ledger.who, command, node.shard)
            return await train(node, self.peer, command, state, tell)

        sending: set[asyncio.Task[None]] = set()
        on_progress = self._progress_to(request_id, sending)
        self._trainings.add(key)
        self._ledger.training(request_id, command, node.trainings.source(key))
        try:
            report, trained = await node.trainings.result_of(key, begin, on_progress)
        finally:
            self._trainings.discard(key)
        await asyncio.gather(*sending)  # the last event goes before the answer
        result = state_object(trained, state, command.result_id)
        self._store.objects[command.result_id] = result
        self._trained = True
        return report

    async def _evaluate(self, command: EvaluateCommand, state: Vector) -> EvaluateReport:
        await self._node.guard.may_evaluate(self._ledger.who, command.recipe, self._node.shard)
        return await evaluate(self._node, self.peer, command, state)

    def _progress_to(self, request_id: bytes, sending: set[asyncio.Task[None]]) -> OnProgress:
        """Passes progress on as events; one that finds the line busy is left out."""

        def on_progress(progress: Progress) -> None:
            if not sending:
                task = asyncio.create_task(self._send_event(request_id, progress))
                sending.add(task)
                task.add_done_callback(sending.discard)

        return on_progress

    async def _send_event(self, request_id: bytes, progress: Progress) -> None:
        try:
            await self._send(Kind.EVENT, request_id, pack_map(progress.model_dump()))
        except ConnectionClosed:
            log.debug("a progress event had nobody to go to")
