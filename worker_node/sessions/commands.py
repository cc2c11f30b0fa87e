"""What a coordinator's commands do: one handler for each name, in a table."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from websockets.exceptions import ConnectionClosed

from shared.errors import FedsmsError, NodeFailed, one_line
from shared.model.recipe import Recipe
from shared.model.vectors import Vector, as_vector
from shared.pointers.commands import (
    JOIN_SEALED,
    OPEN_POINTERS,
    OPEN_SEALED,
    OPEN_SHARED,
    SUMMARISE,
)
from shared.pysyft import serialize
from shared.wire.commands import (
    CANCEL,
    COMPARE,
    COUNTERSIGN,
    EVALUATE,
    HAND_OUT,
    PROPOSE,
    SUM_KEYS,
    SUM_STEP,
    TRAIN,
    CompareCommand,
    CompareReport,
    CountersignCommand,
    CountersignReport,
    EvaluateCommand,
    EvaluateReport,
    HandOutCommand,
    ProposeCommand,
    SecureReport,
    SumAnswer,
    SumKeysCommand,
    SumStepCommand,
    TrainCommand,
    TrainReport,
)
from shared.wire.frames import Kind
from shared.wire.patches import state_from, state_object
from worker_node.node import DataOwnerNode, ObjectStore, command_of, nbytes_of
from worker_node.pointers.access import PointerAccess
from worker_node.sessions.answers import IN_A_SUM, WITH_NOISE, Answers, Request
from worker_node.sessions.commanded_work import CommandedWork

MAX_TASKS = 4
"""Requests to train or evaluate that one session may have open at a time."""

Told = TrainReport | EvaluateReport | CompareReport | SecureReport | SumAnswer | CountersignReport
Report = Coroutine[Any, Any, Told | None]

log = logging.getLogger("fedsms.node")


class Commands:
    """One session's commands. Training and evaluating run beside the session, as tasks."""

    def __init__(
        self, node: DataOwnerNode, store: ObjectStore, answers: Answers, pointers: PointerAccess
    ) -> None:
        self._node = node
        self._store = store
        self._answers = answers
        self._pointers = pointers
        self._work = CommandedWork(node, store, answers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._called_off: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, Callable[[str, Any, Request], Awaitable[None]]] = {
            PROPOSE: self._on_propose,
            TRAIN: self._on_train,
            EVALUATE: self._on_evaluate,
            COMPARE: self._on_compare,
            SUM_KEYS: self._on_sum_keys,
            SUM_STEP: self._on_sum_step,
            COUNTERSIGN: self._on_countersign,
            HAND_OUT: self._on_hand_out,
            CANCEL: self._on_cancel,
            OPEN_POINTERS: self._on_pointers,
            OPEN_SHARED: self._on_pointers,
            OPEN_SEALED: self._on_pointers,
            JOIN_SEALED: self._on_pointers,
            SUMMARISE: self._on_pointers,
        }

    @property
    def has_trained(self) -> bool:
        """Whether a model was trained over this connection, with pointers or without."""
        return self._work.has_trained

    async def handle(self, message: Any, request: Request) -> None:
        """Does what a command asks for, or begins it; its inputs are taken from the store now.

        Raises:
            FedsmsError: it cannot be done; the session answers with the error.
        """
        name, arguments = command_of(message)
        handler = self._handlers.get(name)
        if handler is None:
            raise NodeFailed(f"node {self._node.id} knows no command {name!r:.80}")
        await handler(name, arguments, request)

    async def end(self) -> None:
        """The connection has ended, and with it what was asked for over it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_cancel(self, _: str, arguments: Any, request: Request) -> None:
        self._work.give_up()
        self._called_off |= self._tasks
        for task in self._tasks:
            task.cancel()
        await self._reply(request, None)

    async def _on_pointers(self, name: str, arguments: Any, request: Request) -> None:
        told = await self._pointers.command(name, arguments, self._answers.who)
        request.entry.detail = self._pointers.about(name)
        self._work.has_trained = True
        await self._answers.send(request, Kind.REPLY, serialize(told, self._node))

    async def _on_propose(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = ProposeCommand.parse(arguments)
        request.entry.detail = command.work
        await self._begin(self._judge(command), request)

    async def _judge(self, command: ProposeCommand) -> None:
        node, who = self._node, self._answers.who
        is_known = node.trainings.knows(who.name, command.run)
        await node.guard.may_propose(who, command, node.shard, is_known=is_known)

    async def _on_train(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = TrainCommand.parse(arguments)
        request.training(command)
        state = self._state(command.state_id, None)
        result = state.nbytes * (2 if command.secure else 1)  # a masked number has 8 bytes
        self._node.require_room(self._store, result)
        self._store.promised[request.id] = result
        await self._begin(self._work.train(command, state, request), request)

    async def _on_evaluate(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = EvaluateCommand.parse(arguments)
        secure = f"round {command.secure[1]}{IN_A_SUM}" if command.secure is not None else ""
        with_noise = WITH_NOISE * Recipe.from_json(command.recipe).is_private
        request.about(command.state_id, (secure + with_noise).removeprefix(", "))
        state = self._state(command.state_id, command.base_id)
        await self._begin(self._work.evaluate(command, state, request), request)

    async def _on_compare(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = CompareCommand.parse(arguments)
        request.comparing(command)
        state = self._state(command.state_id, None)
        await self._begin(self._work.compare(command, state, request), request)

    async def _on_sum_keys(self, _: str, arguments: Any, request: Request) -> None:
        command = SumKeysCommand.parse(arguments)
        request.entry.detail = f"keys, {command.sum} of round {command.round}"
        state = self._state(command.state_id, None)
        data = await self._work.secure.keys(self._answers.who.name, command, state)
        await self._reply(request, SumAnswer(data=data))

    async def _on_sum_step(self, _: str, arguments: Any, request: Request) -> None:
        command = SumStepCommand.parse(arguments)
        request.entry.detail = f"{command.step}, {command.sum} of round {command.round}"
        data = await self._work.secure.step(self._answers.who.name, command)
        await self._reply(request, SumAnswer(data=data))

    async def _on_countersign(self, _: str, arguments: Any, request: Request) -> None:
        command = CountersignCommand.parse(arguments)
        request.entry.detail = f"model {command.model[:16]} of run {command.run}"
        signed = self._node.guard.countersign(self._answers.who, command)
        await self._reply(request, CountersignReport(signed=signed.model_dump_json()))

    async def _on_hand_out(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = HandOutCommand.parse(arguments)
        request.about(command.state_id, f"model {command.model[:16]} of run {command.run}")
        state = self._state(command.state_id, None)
        await self._begin(self._keep(command, state, request), request)

    async def _keep(self, command: HandOutCommand, state: Vector, request: Request) -> None:
        """What was begun is done and written down, also where the connection ends meanwhile."""
        keeping = asyncio.ensure_future(
            self._node.guard.keep_model(self._answers.who, command, state)
        )
        try:
            request.entry.detail += await asyncio.shield(keeping)
        except asyncio.CancelledError:
            with contextlib.suppress(FedsmsError, ConnectionClosed):
                request.entry.detail += await keeping
                await self._reply(request, None)
            raise

    def _require_a_free_task(self) -> None:
        if len(self._tasks) >= MAX_TASKS:
            raise NodeFailed(f"a session has at most {MAX_TASKS} trainings and evaluations open")

    def _state(self, object_id: int, base_id: int | None) -> Vector:
        """A state that was sent; one that came as a patch is kept whole from now on."""
        objects = self._store.objects
        if object_id not in objects or (base_id is not None and base_id not in objects):
            raise NodeFailed(f"the state was not sent to node {self._node.id} before the command")
        base = as_vector(objects[base_id]) if base_id is not None else None
        state = state_from(objects[object_id], base)
        self._node.require_room(self._store, state.nbytes - nbytes_of(objects[object_id]), 0)
        objects[object_id] = state_object(state, None, object_id)
        return state

    async def _begin(self, report: Report, request: Request) -> None:
        task = asyncio.create_task(self._answer(report, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._called_off.discard)
        task.add_done_callback(lambda _: self._store.promised.pop(request.id, None))
        # A task that is cancelled before it began would never answer.
        await asyncio.sleep(0)

    async def _answer(self, report: Report, request: Request) -> None:
        peer = self._answers.who.name
        try:
            await self._reply(request, await report)
        except FedsmsError as error:
            log.warning("%s could not be served: %s", peer, one_line(error))
            await self._answers.send_error(request, error)
        except asyncio.CancelledError:
            why = self._why_cancelled()
            log.info("work for %s ends: %s", peer, one_line(why))
            await self._answers.send_error(request, why)
            raise
        except ConnectionClosed:
            log.info("%s left before its answer was sent", peer)
        except Exception as error:
            # The owner reads all of it in the log, and the coordinator need not wait for ever.
            log.exception("%s could not be served", peer)
            unexpected = NodeFailed("an unexpected error on the node", type(error).__name__)
            await self._answers.send_error(request, unexpected)

    def _why_cancelled(self) -> FedsmsError:
        """Of the task that asks."""
        if self._node.guard.pause.is_on:
            return self._node.guard.pause.refusal()
        called_off = asyncio.current_task() in self._called_off
        return NodeFailed(
            "the coordinator cancelled this" if called_off else "the connection ended"
        )

    async def _reply(self, request: Request, report: Told | None) -> None:
        values = report.model_dump() if report is not None else None
        await self._answers.send(request, Kind.REPLY, serialize(values, self._node))
